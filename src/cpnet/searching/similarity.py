"""Similarity of a sentence to the rows of many videos, which may be larger than memory."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BLOCK = 4096  # rows at a time; larger blocks leave the processor's cache
SMOOTHED = 3  # rows of a mean, so that a single odd frame does not decide


def cosines(rows: NDArray[np.floating], vector: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the cosine of each row and a vector; 0 for zeros. Shape: (R, V), (V,) -> (R,)"""
    found, vector = np.empty(len(rows), np.float32), vector / max(float(np.linalg.norm(vector)), 1e-30)
    for first in range(0, len(rows), BLOCK):
        block = rows[first : first + BLOCK].astype(np.float32, copy=False)
        norms = np.sqrt(np.einsum("rv,rv->r", block, block))
        found[first : first + BLOCK] = block @ vector / np.maximum(norms, 1e-30)
    return found


def smoothed(values: NDArray[np.float32], counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the mean of each value and its neighbours in the same video.

    Shape: values (R,) of all videos in order, counts (videos,) that sum to R -> (R,)
    """
    ends, place, half = np.cumsum(counts), np.arange(len(values)), SMOOTHED // 2
    first = np.maximum(place - half, np.repeat(ends - counts, counts))
    last = np.minimum(place + half + 1, np.repeat(ends, counts))
    total = np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])
    means: NDArray[np.float64] = (total[last] - total[first]) / (last - first)
    return means
