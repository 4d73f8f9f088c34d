"""How far a mean over test pairs would move with other pairs: the bootstrap."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
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
