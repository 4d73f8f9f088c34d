"""How far a mean would move with other test pairs, by the bootstrap, and with other seeds, by Student's t."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
# The 97.5 % quantiles of Student's t for 1, 2, ... degrees of freedom, as every textbook prints them; 1.96 beyond
STUDENT = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131),
    *(2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)
_BLOCK = 4_000_000  # drawn pairs that are held at a time


def resampled_means(scores: Floats, *, resamples: int, seed: int = 0) -> Floats:
    """Mean of each column over pairs drawn with replacement, the same pairs for all columns.

    Shape: scores (pairs, columns) -> (resamples, columns)

    Args:
        scores: a row a pair
        resamples: how often as many pairs are drawn as there are
        seed: of the draws
    """
    generator = np.random.default_rng(seed)
    pairs, block = len(scores), max(1, _BLOCK // len(scores))
    means = np.empty((resamples, scores.shape[1]))
    for start in range(0, resamples, block):
        drawn = generator.integers(pairs, size=(min(block, resamples - start), pairs))
        # How often each pair was drawn, counted for all resamples of the block at once
        places = drawn + pairs * np.arange(len(drawn))[:, None]
        weights = np.bincount(places.ravel(), minlength=drawn.size).reshape(drawn.shape)
        means[start : start + len(drawn)] = weights.astype(np.float64) @ scores / pairs
    return means


def interval(means: Floats, *, level: float = 0.95) -> Floats:
    """Lower and upper end of the percentile interval of each column.

    Shape: (resamples, ...) -> (2, ...)

    >>> interval(np.arange(101.0)[:, None], level=0.9)[:, 0].round(6).tolist()
    [5.0, 95.0]
    """
    outside = 100 * (1 - level) / 2
    return np.percentile(means, [outside, 100 - outside], axis=0)


def over_seeds(differences: Sequence[float]) -> tuple[float, float] | None:
    """95 % interval of the mean of differences between two models trained with the same seeds; None for one seed.

    >>> low, high = over_seeds([1.0, 2.0, 3.0])
    >>> round(low, 2), round(high, 2)
    (-0.48, 4.48)
    """
    count = len(differences)
    if count < 2:
        return None
    quantile = STUDENT[count - 2] if count - 2 < len(STUDENT) else 1.96
    mean = float(np.mean(differences))
    half = quantile * float(np.std(differences, ddof=1)) / count**0.5
    return mean - half, mean + half
