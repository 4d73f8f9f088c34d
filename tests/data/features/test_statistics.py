"""Oracle: counts and sums in slow loops over Python's floats, and properties of random projections."""

from __future__ import annotations

import math
import warnings
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from cpnet.data.features.statistics import SIGNATURE_BINS, SIGNATURE_DIM, examine, signature

DTYPES = ("float16", "float32", "float64", ">f4", ">f8")
# Few values, so that rows are often of zeros, constant or repeated; the last two are infinite in fewer bits.
VALUES = (0.0, -0.0, 1.0, 1.0, 0.5, -2.25, math.nan, math.inf, -math.inf, 70000.0, 1e300)


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
    counts = dict.fromkeys(("not_finite", "zero", "constant", "repeated"), 0)
    values: list[float] = []
    norms: list[float] = []
    before: list[float] | None = None
    for row in rows:
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


def random(rows: int, width: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((rows, width), np.float32)


def cosine(left: NDArray[np.float32], right: NDArray[np.float32]) -> float:
    return float(left @ right / np.linalg.norm(left) / np.linalg.norm(right))


@given(videos())
def test_counts_and_values_are_those_of_a_slow_loop(stored: NDArray[Any]) -> None:
    kept = stored.copy()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = examine(stored)
    expected = slow(stored)
    assert {name: getattr(found, name) for name in expected} == pytest.approx(expected, rel=1e-6, nan_ok=True)
    assert found.dtype == str(stored.dtype)
    np.testing.assert_array_equal(stored, kept)


def test_rows_on_both_sides_of_a_defective_one_are_not_repeated() -> None:
    row, bad = [1.0, 2.0], [math.inf, 1.0]
    found = examine(np.array([row, bad, bad, row, row, [math.nan, 0.0], row], np.float32))
    assert (found.not_finite, found.repeated) == (3, 1)


def test_a_single_row_and_a_single_column() -> None:
    one = examine(np.array([[3.0, 4.0]], np.float16))
    assert (one.rows, one.dim, one.repeated, one.norm, one.dtype) == (1, 2, 0, 5.0, "float16")
    narrow = examine(np.array([[2.0], [0.0], [0.0], [-3.0]]))
    assert (narrow.zero, narrow.constant, narrow.repeated) == (2, 0, 1)
    assert (narrow.least, narrow.most, narrow.norm) == (-3.0, 2.0, 1.25)


def test_a_video_without_a_finite_row_has_no_values() -> None:
    found = examine(np.full((3, 2), math.nan, np.float32))
    assert (found.rows, found.not_finite, found.zero, found.constant, found.repeated) == (3, 3, 0, 0, 0)
    assert all(math.isnan(value) for value in (found.least, found.most, found.norm))
    assert not found.signature.any()


def test_the_largest_values_give_a_norm_and_no_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = examine(np.full((20, 4), 3e38, np.float32))
    assert (found.not_finite, found.constant, found.repeated) == (0, 20, 19)
    assert found.norm == pytest.approx(6e38)


def test_a_signature_without_rows_is_zero() -> None:
    assert signature(np.empty((0, 5), np.float32)).tolist() == [0.0] * (SIGNATURE_BINS * SIGNATURE_DIM)


@given(rows=st.integers(1, 50), width=st.integers(1, 20), times=st.integers(2, 5), seed=st.integers(0, 99))
def test_a_signature_is_the_same_at_a_multiple_of_the_rate(rows: int, width: int, times: int, seed: int) -> None:
    video = random(rows, width, seed)
    np.testing.assert_allclose(signature(np.repeat(video, times, axis=0)), signature(video), rtol=1e-4, atol=1e-4)


@given(rows=st.integers(1, 50), seed=st.integers(0, 99))
def test_a_signature_is_made_of_means_over_eighths_of_the_video(rows: int, seed: int) -> None:
    video = random(rows, 6, seed)
    # With every row eight times, an eighth of the video is a whole number of rows.
    means = np.repeat(video, SIGNATURE_BINS, axis=0).reshape(SIGNATURE_BINS, rows, 6).mean(axis=1)
    found, eighths = signature(video), signature(means).reshape(SIGNATURE_BINS, SIGNATURE_DIM)
    np.testing.assert_allclose(found, eighths.ravel(), rtol=1e-4, atol=1e-4)
    # Each bin is one linear map of its mean: that of a constant video of this mean.
    for mean, bin_ in zip(means, eighths, strict=True):
        constant = signature(mean[None]).reshape(SIGNATURE_BINS, SIGNATURE_DIM)
        np.testing.assert_allclose(constant, np.tile(bin_, (SIGNATURE_BINS, 1)), rtol=1e-4, atol=1e-4)


def test_distances_are_kept_roughly() -> None:
    drawn = [random(SIGNATURE_BINS, 500, seed) for seed in range(20)]
    for left, right in pairwise(drawn):
        ratio = np.linalg.norm(signature(left) - signature(right)) / np.linalg.norm(left - right)
        assert 0.75 < ratio < 1.25  # 3.5 deviations or more of the mean of 256 squares


def test_little_noise_changes_a_signature_little_and_another_video_much() -> None:
    video = random(40, 64)
    noisy = video + 0.01 * random(40, 64, seed=1)
    assert cosine(signature(video), signature(noisy)) > 0.999
    assert abs(cosine(signature(video), signature(random(40, 64, seed=2)))) < 0.5


def test_the_order_of_rows_counts() -> None:
    video = random(40, 64)
    assert cosine(signature(video), signature(video[::-1].copy())) < 0.5
