"""Oracle: counts and sums in slow loops over Python's floats."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from cpnet.data.features.statistics import examine

DTYPES = ("float16", "float32", "float64", ">f4", ">f8")
# Few values, so that rows are often of zeros, constant or repeated; the last three are infinite in fewer bits.
VALUES = (0.0, -0.0, 1.0, 1.0, 0.5, -2.25, math.nan, math.inf, -math.inf, 70000.0, 3e38, 1e300)


@st.composite
def videos(draw: st.DrawFn) -> NDArray[Any]:
    dtype, width = draw(st.sampled_from(DTYPES)), draw(st.integers(1, 4))
    values = st.sampled_from(VALUES) if draw(st.booleans()) else st.sampled_from(VALUES[:6])
    kinds = draw(st.lists(st.lists(values, min_size=width, max_size=width), min_size=1, max_size=4))
    rows = draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=12))
    with np.errstate(over="ignore"):
        return np.array(rows).astype(dtype)


def slow(stored: NDArray[Any]) -> dict[str, Any]:
    with np.errstate(over="ignore"):
        rows = [[float(np.float32(value)) for value in row] for row in stored.tolist()]
    counts = dict.fromkeys(("not_finite", "zero", "constant", "repeated", "padding"), 0)
    values: list[float] = []
    norms: list[float] = []
    before: list[float] | None = None
    for row in rows:
        counts["padding"] = counts["padding"] + 1 if all(value == 0 for value in row) else 0
        if not all(math.isfinite(value) for value in row):
            counts["not_finite"] += 1
            before = None
            continue
        if all(value == 0 for value in row):
            counts["zero"] += 1
        elif len(row) > 1 and all(value == row[0] for value in row):
            counts["constant"] += 1
        counts["repeated"] += row == before
        before = row
        values += row
        norms.append(math.sqrt(math.fsum(value * value for value in row)))
    return {
        **counts,
        "rows": len(rows),
        "dim": len(rows[0]),
        "least": min(values, default=math.nan),
        "most": max(values, default=math.nan),
        "norm": math.fsum(norms) / len(norms) if norms else math.nan,
    }


@given(videos())
def test_statistics_equal_those_of_a_slow_loop(stored: NDArray[Any]) -> None:
    kept = stored.copy()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = examine(stored)
    expected = slow(stored)
    assert {name: getattr(found, name) for name in expected} == pytest.approx(expected, rel=1e-6, nan_ok=True)
    assert found.dtype == str(stored.dtype)
    np.testing.assert_array_equal(stored, kept)
