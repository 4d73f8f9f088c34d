"""The oracle is one product over all rows in float64, and a loop over the rows."""

from __future__ import annotations

import numpy as np
import pytest

from cpnet.searching import similarity
from cpnet.searching.similarity import cosines, smoothed


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("block", [1, 7, 64, 1000])
def test_blocked_cosines_equal_the_direct_ones(dtype: type, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(similarity, "BLOCK", block)
    rng = np.random.default_rng(0)
    rows, vector = rng.normal(size=(100, 12)).astype(dtype), rng.normal(size=12).astype(np.float32)
    rows[40] = 0
    wide = rows.astype(np.float64)
    expected = wide @ vector / np.linalg.norm(vector) / np.where(wide.any(1), np.linalg.norm(wide, axis=1), 1)
    np.testing.assert_allclose(cosines(rows, vector), expected, atol=1e-6)
    assert cosines(rows, 0 * vector).tolist() == [0] * 100


def test_a_mean_stays_within_its_video() -> None:
    values, counts = np.random.default_rng(1).normal(size=12).astype(np.float32), np.array([1, 2, 5, 4])
    ends = counts.cumsum().tolist()
    expected = [
        np.mean([values[near] for near in range(place - 1, place + 2) if end - count <= near < end])
        for end, count in zip(ends, counts.tolist(), strict=True)
        for place in range(end - count, end)
    ]
    np.testing.assert_allclose(smoothed(values, counts), expected, atol=1e-6)
