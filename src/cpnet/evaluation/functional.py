"""Scores of single pairs as pure functions of NumPy arrays in float64: IoU, recall and discounted recall.

Predictions and targets are in seconds. A target is one true window (B, 2) or several (B, K, 2): a query counts once, by
its best window. Comparisons with thresholds tolerate 1e-9, so that exact ties, which do occur, count the same on every
platform. Tensors of the host are accepted too.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
TIE = 1e-9


def iou(predicted: ArrayLike, target: ArrayLike) -> Floats:
    """Return the intersection over union in [0, 1]; 0 for disjoint, empty and reversed spans.

    Computed as intersection / (length + length - intersection), in this order, so that IoUs equal to a threshold are
    the same everywhere.

    Shape: (..., 2), (..., 2), which broadcast -> (...)

    >>> iou([0.0, 10.0], [5.0, 10.0]).item()
    0.5
    """
    predicted, target = np.asarray(predicted, np.float64), np.asarray(target, np.float64)
    intersection = np.minimum(predicted[..., 1], target[..., 1]) - np.maximum(predicted[..., 0], target[..., 0])
    intersection = np.maximum(intersection, 0.0)
    lengths = (np.maximum(each[..., 1] - each[..., 0], 0.0) for each in (predicted, target))
    union = sum(lengths) - intersection
    found: Floats = np.divide(intersection, union, out=np.zeros_like(union), where=union > 0)
    return found


def check_recall(n: int, threshold: float) -> None:
    """Check the parameters of R@n,IoU=m.

    Raises:
        ValueError: if ``n`` is below 1 or ``threshold`` outside (0, 1].
    """
    if n < 1:
        raise ValueError(f"R@n,IoU=m counts the first n predictions: n must be at least 1, got {n}")
    if not 0 < threshold <= 1:
        raise ValueError(f"an IoU threshold must lie in (0, 1], got {threshold}")


def check_pairs(ranked: Any, target: Any, duration: Any = None) -> None:
    """Check that the shapes of ranked predictions, targets and durations match.

    Raises:
        ValueError: if the shapes are not (B, N, 2), (B, 2) or (B, K, 2), and (B,).
    """
    if ranked.ndim != 3 or ranked.shape[-1] != 2:
        raise ValueError(f"ranked predictions must be (B, N, 2), got {tuple(ranked.shape)}")
    pairs = ranked.shape[0]
    if target.ndim not in (2, 3) or (target.shape[0], target.shape[-1]) != (pairs, 2) or 0 in target.shape[1:]:
        raise ValueError(f"targets of {pairs} pairs must be (B, 2) or (B, K, 2), got {tuple(target.shape)}")
    if duration is not None and duration.shape != (pairs,):
        raise ValueError(f"durations of {pairs} pairs must be ({pairs},), got {tuple(duration.shape)}")


def meets(iou: ArrayLike, threshold: float, *, strict: bool = False) -> NDArray[np.bool_]:
    """Return whether each IoU is at least the threshold, or above it if ``strict``; equality holds within 1e-9.

    Shape: (...) -> (...) bool

    >>> meets([0.4, 0.5, 0.6], 0.5).tolist(), meets([0.4, 0.5, 0.6], 0.5, strict=True).tolist()
    ([False, True, True], [False, False, True])
    """
    return np.asarray(iou) > threshold + TIE if strict else np.asarray(iou) >= threshold - TIE


def best_iou(ranked: Any, target: Any, *, n: int = 1) -> Floats:
    """Return the highest IoU of the first ``n`` predictions with a true window; 0 for a pair without predictions.

    Shape: ranked (B, N, 2), target (B, 2) or (B, K, 2), both in seconds -> (B,) float64

    Raises:
        ValueError: if ``n`` is below 1 or a shape is wrong.

    >>> ranked, target = np.array([[[0.0, 9.0], [5.0, 10.0]]]), np.array([[0.0, 10.0]])
    >>> best_iou(ranked, target, n=1).item(), best_iou(ranked[:, 1:], target, n=5).item()
    (0.9, 0.5)
    """
    check_recall(n, 1.0)
    check_pairs(ranked, target)
    return _best(iou(*_facing(ranked[:, :n], target)))


def recall_at_iou(ranked: Any, target: Any, *, n: int, threshold: float, strict: bool = False) -> NDArray[np.bool_]:
    """Return whether one of the first ``n`` predictions has an IoU of at least ``threshold`` with a true window.

    R@n,IoU=m of TALL (Gao et al. 2017), with >= as in the code of TALL, LGI, VSLNet and SnAG. ``strict`` uses >, as in
    CPNet's text and the code of 2D-TAN.

    Shape: ranked (B, N, 2), target (B, 2) or (B, K, 2), both in seconds -> (B,) bool

    Raises:
        ValueError: if ``n`` is below 1, ``threshold`` outside (0, 1] or a shape is wrong.

    >>> ranked, target = np.array([[[0.0, 4.0], [0.0, 5.0]]]), np.array([[0.0, 10.0]])
    >>> [recall_at_iou(ranked, target, n=n, threshold=0.5).item() for n in (1, 2)]
    [False, True]
    """
    check_recall(n, threshold)
    return meets(best_iou(ranked, target, n=n), threshold, strict=strict)


def discounted_recall(
    ranked: Any, target: Any, duration: Any, *, n: int, threshold: float, strict: bool = False
) -> Floats:
    """Return each hit of ``recall_at_iou`` times (1 - start error) times (1 - end error).

    dR@n,IoU@m of Yuan et al. 2021, "A Closer Look at Temporal Sentence Grounding in Videos". Errors are absolute
    differences as fractions of the video; a factor is at least 0, because a prediction may exceed the video. If several
    predictions or windows of a pair make a hit, the highest product counts.

    Shape: ranked (B, N, 2), target (B, 2) or (B, K, 2), duration (B,), all in seconds -> (B,) float64 in [0, 1]

    Raises:
        ValueError: if ``n`` is below 1, ``threshold`` outside (0, 1], a shape is wrong or a duration not positive.

    >>> ranked, target = np.array([[[0.0, 5.0]]]), np.array([[0.0, 10.0]])
    >>> discounted_recall(ranked, target, np.array([10.0]), n=1, threshold=0.5).item()
    0.5
    """
    check_recall(n, threshold)
    check_pairs(ranked, target, duration)
    duration = np.asarray(duration, np.float64)
    if not (duration > 0).all():
        raise ValueError(f"durations must be positive, got {duration[~(duration > 0)][0].item()}")
    predicted, windows = _facing(ranked[:, :n], target)
    error = np.abs(predicted - windows) / duration[:, None, None, None]
    discount = np.maximum(1 - error, 0.0).prod(axis=-1)
    return _best(np.where(meets(iou(predicted, windows), threshold, strict=strict), discount, 0.0))


def _facing(ranked: Any, target: Any) -> tuple[Floats, Floats]:
    """Return predictions and windows so that each prediction meets each window. Shape: (B, N, 1, 2), (B, 1, K, 2)"""
    target = target[:, None, None] if target.ndim == 2 else target[:, None]
    return np.asarray(ranked[:, :, None], np.float64), np.asarray(target, np.float64)


def _best(score: Floats) -> Floats:
    """Return the best score of each pair over predictions and windows, 0 without. Shape: (B, N, K) -> (B,)"""
    best: Floats = score.reshape(len(score), np.prod(score.shape[1:], dtype=int)).max(axis=1, initial=0.0)
    return best
