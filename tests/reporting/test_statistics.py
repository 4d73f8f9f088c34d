"""Oracles: a slow bootstrap in plain Python, scipy's, a printed table of t."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import bootstrap

from cpnet.reporting import statistics
from cpnet.reporting.statistics import interval, over_seeds, resampled_means


def slow_means(scores: list[list[float]], resamples: int, seed: int) -> list[list[float]]:
    """Draw as ``resampled_means`` does, and add up by hand."""
    generator = np.random.default_rng(seed)
    drawn = generator.integers(len(scores), size=(resamples, len(scores)))
    return [[sum(scores[pair][c] for pair in line) / len(scores) for c in range(len(scores[0]))] for line in drawn]


def test_means_are_those_of_the_drawn_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = np.random.default_rng(0).uniform(size=(7, 3))
    expected = slow_means(scores.tolist(), 20, 5)
    np.testing.assert_allclose(resampled_means(scores, resamples=20, seed=5), expected, rtol=1e-12)
    monkeypatch.setattr(statistics, "_BLOCK", 3 * 7)  # blocks of three resamples, the last of two
    np.testing.assert_allclose(resampled_means(scores, resamples=20, seed=5), expected, rtol=1e-12)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20), st.floats(-1, 1))
def test_all_columns_share_the_drawn_pairs(column: list[float], offset: float) -> None:
    scores = np.array([column, [value + offset for value in column]]).T
    means = resampled_means(scores, resamples=50)
    np.testing.assert_allclose(means[:, 1] - means[:, 0], offset, atol=1e-9)
    assert means[:, 0].min() >= min(column) - 1e-9
    assert means[:, 0].max() <= max(column) + 1e-9


def test_the_interval_is_that_of_scipy() -> None:
    scores = np.random.default_rng(3).exponential(size=(50, 1))
    low, high = interval(resampled_means(scores, resamples=20_000))[:, 0]
    other = bootstrap((scores[:, 0],), np.mean, n_resamples=20_000, method="percentile", rng=4).confidence_interval
    assert (low, high) == pytest.approx((other.low, other.high), abs=0.02 * (high - low))


@pytest.mark.parametrize(("count", "quantile"), [(2, 12.706), (3, 4.303), (11, 2.228), (31, 2.042)])
def test_the_interval_over_seeds_has_the_printed_quantile_of_t(count: int, quantile: float) -> None:
    differences = np.random.default_rng(count).normal(size=count)
    found = over_seeds(differences.tolist())
    assert found is not None
    half = quantile * differences.std(ddof=1) / count**0.5
    assert found == pytest.approx((differences.mean() - half, differences.mean() + half), abs=1e-3 * half)
    assert over_seeds([1.0]) is None
