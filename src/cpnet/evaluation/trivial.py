"""Trivial predictors, the lower bounds of every results table. They ignore video and query."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from cpnet.evaluation.functional import TIE, Floats, meets
from cpnet.evaluation.names import pair_scores
from cpnet.options import MetricsOptions

# Pairs per step of the search; their IoUs with all candidates fit into a CPU's cache.
_CHUNK = 32
BEST_MIOU = "best constant, mIoU"  # name of the strongest trivial predictor


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


def best_constants(
    target_sec: Floats,
    duration_sec: Floats,
    *,
    thresholds: Sequence[float | None],
    steps: int = 40,
    strict: bool = False,
) -> list[tuple[float, float]]:
    """Find, for each threshold, the constant span on a grid of 1/``steps`` with the highest score on the given pairs.

    The score is R@1,IoU=threshold (with ``strict``, IoU > threshold), or mIoU if the threshold is None. Of spans whose
    scores tie within 1e-9, the one with the earliest start wins, then the one with the earliest end.

    Shape: target_sec (M, 2) or (M, K, 2), duration_sec (M,), both in seconds, M > 0 -> (start, end) in fractions

    >>> target, duration = np.array([[0.0, 5.0], [0.0, 3.0], [9.0, 10.0]]), np.array([10.0, 10.0, 10.0])
    >>> best_constants(target, duration, thresholds=[0.5], steps=10)
    [(0.0, 0.3)]
    """
    starts, ends = np.array(np.triu_indices(steps + 1, k=1)) / steps  # (C,), in order of start, then of end
    windows = target_sec.reshape(len(target_sec), -1, 2, 1) / duration_sec[:, None, None, None]
    scores = np.zeros((len(thresholds), len(starts)))
    for chunk in range(0, len(windows), _CHUNK):
        start, end = np.moveaxis(windows[chunk : chunk + _CHUNK], 2, 0)  # (chunk, K, 1)
        # ``functional.iou`` is three times as slow; a constant span is never empty, so that no union is 0.
        overlap = np.minimum(end, ends)
        overlap -= np.maximum(start, starts)
        np.maximum(overlap, 0.0, out=overlap)
        overlap /= (ends - starts) + np.maximum(end - start, 0.0) - overlap  # the union
        best = overlap.max(axis=1)  # (chunk, C)
        for score, threshold in zip(scores, thresholds, strict=True):
            hits = best if threshold is None else meets(best, threshold, strict=strict)
            score += hits.sum(axis=0)
    means = scores / len(windows)
    first = (means >= means.max(axis=1, keepdims=True) - TIE).argmax(axis=1)
    return [*zip(starts[first].tolist(), ends[first].tolist(), strict=True)]


def trivial_predictors(
    train_target_sec: Floats, train_duration_sec: Floats, *, strict: bool = False
) -> dict[str, tuple[float, float]]:
    """Return the constant span of each trivial predictor by name: the whole video, and two fitted to training pairs.

    Shape: as in ``best_constants`` -> name: (start, end) in fractions

    >>> for name, span in trivial_predictors(np.array([[0.0, 5.0]]), np.array([10.0])).items():
    ...     print(name, span)
    whole video (0.0, 1.0)
    best constant, R@1,IoU=0.5 (0.0, 0.25)
    best constant, mIoU (0.0, 0.5)
    """
    recall, iou = best_constants(train_target_sec, train_duration_sec, thresholds=[0.5, None], strict=strict)
    return {"whole video": (0.0, 1.0), "best constant, R@1,IoU=0.5": recall, BEST_MIOU: iou}


def trivial_rows(
    train: tuple[Floats, Floats], tested: tuple[Floats, Floats], *, metrics: MetricsOptions
) -> dict[str, Trivial]:
    """Fit the trivial predictors on the training split and measure them on another split.

    They predict one span, so of R@n they have R@1 alone.

    Shape: train and tested: true windows (M, K, 2) and durations (M,), both in seconds
    """
    options, rows = replace(metrics, recall_at=[n for n in metrics.recall_at if n == 1]), {}
    for name, span in trivial_predictors(*train, strict=metrics.strict).items():
        scores = pair_scores(options, predict_constant(span, tested[1]), *tested)
        rows[name] = Trivial(span=span, metrics={key: 100 * float(each.mean()) for key, each in scores.items()})
    return rows
