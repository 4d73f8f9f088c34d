"""Oracle: a slow bootstrap, pair by pair, in plain Python, and the normal approximation of a mean."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpnet.reporting import statistics
from cpnet.reporting.statistics import interval, resampled_means


def slow_means(scores: list[list[float]], resamples: int, seed: int) -> list[list[float]]:
    """Draw as the code under test draws, and add up by hand."""
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
def test_the_same_pairs_are_drawn_for_all_columns(column: list[float], offset: float) -> None:
    scores = np.array([column, [value + offset for value in column]]).T
    means = resampled_means(scores, resamples=50)
    np.testing.assert_allclose(means[:, 1] - means[:, 0], offset, atol=1e-9)
    assert means[:, 0].min() >= min(column) - 1e-9
    assert means[:, 0].max() <= max(column) + 1e-9


def test_the_interval_of_a_mean_is_the_normal_one_where_there_are_many_pairs() -> None:
    scores = np.random.default_rng(1).exponential(size=(4000, 1))
    low, high = interval(resampled_means(scores, resamples=4000))[:, 0]
    half = 1.96 * scores.std() / np.sqrt(len(scores))
    assert (low, high) == pytest.approx((scores.mean() - half, scores.mean() + half), abs=0.1 * half)


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    generator = np.random.default_rng(2)
    covered = 0
    for trial in range(300):
        low, high = interval(resampled_means(generator.uniform(size=(60, 1)), resamples=300, seed=trial))[:, 0]
        covered += low <= 0.5 <= high
    assert 0.90 <= covered / 300 <= 0.985


def test_thirty_rows_of_a_whole_corpus_take_seconds() -> None:
    scores = np.random.default_rng(3).uniform(size=(3720, 30 * 7))
    start = time.perf_counter()
    resampled_means(scores, resamples=2000)
    assert time.perf_counter() - start < 10
