"""Trivial predictors, the lower bounds of every results table. They ignore video and query."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from cpnet.evaluation.functional import TIE, Floats, check_pairs, check_recall, iou, meets
from cpnet.evaluation.names import metric_keys, score_pairs
from cpnet.options import MetricsOptions

# Pairs per step of the search; their IoUs with all candidates fit into a CPU's cache.
_CHUNK = 128


@dataclass(frozen=True, kw_only=True)
class Trivial:
    """A trivial predictor: its constant span in fractions of the video, and its metrics in per cent."""

    span: tuple[float, float]
    metrics: Mapping[str, float]


def predict_constant(span: tuple[float, float], duration_sec: Floats) -> Floats:
    """Return the same span, in fractions of the video, for every pair.

    Shape: duration_sec (B,) -> (B, 1, 2) float64 in seconds

    >>> predict_constant((0.0, 0.5), np.array([10.0, 30.0])).tolist()
    [[[0.0, 5.0]], [[0.0, 15.0]]]
    """
    return duration_sec[:, None, None] * np.array(span, np.float64)


def best_constant(
    target_sec: Floats, duration_sec: Floats, *, threshold: float | None, steps: int = 40
) -> tuple[float, float]:
    """Find the constant span, on a grid of 1/``steps``, with the highest score on the given pairs.

    The score is R@1,IoU=``threshold``, or mIoU if ``threshold`` is None. Of spans whose scores tie within 1e-9, the one
    with the earliest start wins, then the one with the earliest end.

    Shape: target_sec (M, 2) or (M, K, 2), duration_sec (M,), both in seconds -> (start, end) in fractions

    Raises:
        ValueError: if there are no pairs, a shape is wrong, ``threshold`` lies outside (0, 1] or ``steps`` is below 1.

    >>> target, duration = np.array([[0.0, 5.0], [0.0, 3.0], [9.0, 10.0]]), np.array([10.0, 10.0, 10.0])
    >>> best_constant(target, duration, threshold=0.5, steps=10)
    (0.0, 0.3)
    """
    check_recall(1, 1.0 if threshold is None else threshold)
    if steps < 1:
        raise ValueError(f"the grid of constant spans needs at least 1 step, got {steps}")
    if not len(duration_sec):
        raise ValueError("a constant span cannot be fitted to 0 pairs")
    check_pairs(predict_constant((0.0, 1.0), duration_sec), target_sec, duration_sec)
    candidates = np.stack(np.triu_indices(steps + 1, k=1), axis=1) / steps  # (C, 2), in order of start, then of end
    score = np.zeros(len(candidates))
    for chunk in range(0, len(duration_sec), _CHUNK):
        target, duration = target_sec[chunk : chunk + _CHUNK], duration_sec[chunk : chunk + _CHUNK]
        windows = target.reshape(len(target), -1, 1, 2)
        best = iou(candidates * duration[:, None, None, None], windows).max(axis=1)  # (chunk, C)
        score += (best if threshold is None else meets(best, threshold)).sum(axis=0)
    first = np.flatnonzero(score / len(duration_sec) >= score.max() / len(duration_sec) - TIE)[0]
    start, end = candidates[first].tolist()
    return start, end


def trivial_predictors(train_target_sec: Floats, train_duration_sec: Floats) -> dict[str, tuple[float, float]]:
    """Return the constant span of each trivial predictor by name: the whole video, and two fitted to training pairs.

    Shape: as in ``best_constant`` -> name: (start, end) in fractions

    Raises:
        ValueError: if there are no pairs or a shape is wrong.

    >>> for name, span in trivial_predictors(np.array([[0.0, 5.0]]), np.array([10.0])).items():
    ...     print(name, span)
    whole video (0.0, 1.0)
    best constant, R@1,IoU=0.5 (0.0, 0.25)
    best constant, mIoU (0.0, 0.5)
    """
    return {
        "whole video": (0.0, 1.0),
        "best constant, R@1,IoU=0.5": best_constant(train_target_sec, train_duration_sec, threshold=0.5),
        "best constant, mIoU": best_constant(train_target_sec, train_duration_sec, threshold=None),
    }


def trivial_rows(
    train: tuple[Floats, Floats], tested: tuple[Floats, Floats], *, metrics: MetricsOptions
) -> dict[str, Trivial]:
    """Fit the trivial predictors on the training split and measure them on another split.

    They predict one span, so of R@n they have R@1 alone.

    Shape: train and tested: true windows (M, K, 2) and durations (M,), both in seconds
    """
    options, rows = replace(metrics, recall_at=[n for n in metrics.recall_at if n == 1]), {}
    for name, span in trivial_predictors(*train).items():
        ranked = predict_constant(span, tested[1])
        means = {key: score_pairs(key, ranked, *tested, strict=options.strict).mean() for key in metric_keys(options)}
        rows[name] = Trivial(span=span, metrics={key: 100 * float(mean) for key, mean in means.items()})
    return rows
