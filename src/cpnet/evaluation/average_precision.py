"""Mean average precision of queries with several true windows, as in QVHighlights (Lei et al. 2021)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cpnet.evaluation.functional import Floats, iou, meets

THRESHOLDS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))


def average_precision(ranked: Floats, windows: Floats, thresholds: Sequence[float] = THRESHOLDS) -> Floats:
    """Return the average precision of one query at each threshold.

    Each prediction, best first, takes the free window with the highest IoU, if that meets the threshold; the precision
    at a recall is the highest at this or a higher recall.

    Shape: ranked (N, 2), windows (K, 2), both in seconds -> (thresholds,) in [0, 1]

    >>> average_precision(np.array([[0.0, 1.0], [5.0, 9.0]]), np.array([[5.0, 9.0]]), thresholds=[0.5]).tolist()
    [0.5]
    """
    overlaps = iou(ranked[:, None], windows[None])  # (N, K)
    found = np.zeros((len(thresholds), len(ranked)), bool)
    for row, threshold in enumerate(thresholds):
        free = np.ones(len(windows), bool)
        for place in range(len(ranked)):
            best = int(np.where(free, overlaps[place], -1.0).argmax())
            if free[best] and meets(overlaps[place, best], threshold):
                free[best], found[row, place] = False, True
    hits = found.cumsum(axis=1)
    precision = hits / np.arange(1, len(ranked) + 1)
    highest = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    total: Floats = (highest * found).sum(axis=1) / len(windows)
    return total
