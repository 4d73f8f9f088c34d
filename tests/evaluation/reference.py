"""Second implementation of the metrics: plain loops over NumPy numbers, written from the definitions alone.

The target of a pair is a span, or several of which the best one counts.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def iou(predicted: Array, target: Array) -> float:
    if predicted[1] <= predicted[0]:
        return 0.0
    intersection = min(predicted[1], target[1]) - max(predicted[0], target[0])
    if intersection <= 0:
        return 0.0
    return float(intersection / ((predicted[1] - predicted[0]) + (target[1] - target[0]) - intersection))


def is_hit(score: float, threshold: float, strict: bool) -> bool:
    if abs(score - threshold) <= 1e-9:
        return not strict
    return score > threshold


def recall(ranked: Array, target: Array, *, n: int, threshold: float, strict: bool = False) -> float:
    hits = 0
    for predictions, true in zip(ranked, target, strict=True):
        for predicted in predictions[:n]:
            if any(is_hit(iou(predicted, window), threshold, strict) for window in true.reshape(-1, 2)):
                hits += 1
                break
    return 100 * hits / len(target)


def discounted_recall(
    ranked: Array, target: Array, duration: Array, *, n: int, threshold: float, strict: bool = False
) -> float:
    total = 0.0
    for predictions, true, seconds in zip(ranked, target, duration, strict=True):
        best = 0.0
        for predicted in predictions[:n]:
            for window in true.reshape(-1, 2):
                if is_hit(iou(predicted, window), threshold, strict):
                    start_error = abs(predicted[0] - window[0]) / seconds
                    end_error = abs(predicted[1] - window[1]) / seconds
                    best = max(best, max(1 - start_error, 0) * max(1 - end_error, 0))
        total += best
    return 100 * total / len(target)


def mean_iou(ranked: Array, target: Array) -> float:
    total = 0.0
    for predictions, true in zip(ranked, target, strict=True):
        if len(predictions):
            total += max(iou(predictions[0], window) for window in true.reshape(-1, 2))
    return 100 * total / len(target)
