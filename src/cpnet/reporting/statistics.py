"""Confidence intervals of means: over test pairs by the bootstrap, over seeds by Student's t."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cpnet.evaluation.functional import Floats

FEWEST = 100  # resamples; with fewer, the ends of an interval depend on single draws
_BLOCK = 200_000  # pairs drawn at a time, which fit into a CPU's cache


def resampled_means(scores: Floats, *, resamples: int, seed: int = 0) -> Floats:
    """Return the mean of each column over pairs drawn with replacement. All columns share the drawn pairs.

    Shape: scores (pairs, columns) -> (resamples, columns)

    Args:
        scores: one row per pair
        resamples: number of resamples, each as large as ``scores``
        seed: seed of the draws
    """
    generator = np.random.default_rng(seed)
    pairs, block = len(scores), max(1, _BLOCK // len(scores))
    means = np.empty((resamples, scores.shape[1]))
    for start in range(0, resamples, block):
        drawn = generator.integers(pairs, size=(min(block, resamples - start), pairs))
        # Count how often each resample of the block draws each pair.
        places = drawn + pairs * np.arange(len(drawn))[:, None]
        weights = np.bincount(places.ravel(), minlength=drawn.size).reshape(drawn.shape)
        means[start : start + len(drawn)] = weights.astype(np.float64) @ scores / pairs
    return means


def interval(means: Floats) -> Floats:
    """Return the lower and upper end of the 95 % percentile interval of each column.

    Shape: (resamples, ...) -> (2, ...)

    >>> interval(np.arange(201.0)[:, None])[:, 0].tolist()
    [5.0, 195.0]
    """
    return np.percentile(means, [2.5, 97.5], axis=0)


def over_seeds(differences: Sequence[float]) -> tuple[float, float] | None:
    """Return the 95 % t interval of the mean difference between models of the same seeds; None for one seed.

    >>> low, high = over_seeds([1.0, 2.0, 3.0])
    >>> round(low, 2), round(high, 2)
    (-0.48, 4.48)
    """
    count = len(differences)
    if count < 2:
        return None
    from scipy.special import stdtrit  # takes a quarter of a second, and scipy.stats takes seconds

    mean = float(np.mean(differences))
    half = float(stdtrit(count - 1, 0.975)) * float(np.std(differences, ddof=1)) / count**0.5
    return mean - half, mean + half
