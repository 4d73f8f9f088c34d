"""Trivial predictors, the lower bounds of every results table. They ignore video and query."""

from __future__ import annotations

import torch
from torch import Tensor

from cpnet import spans
from cpnet.evaluation.functional import TIE, check_pairs, check_recall, meets

# Pairs per step of the search; their IoUs with all candidates fit into a CPU's cache.
_CHUNK = 128


def predict_constant(span: tuple[float, float], duration_sec: Tensor) -> Tensor:
    """Return the same span, in fractions of the video, for every pair.

    Shape: duration_sec (B,) -> (B, 1, 2) float64 in seconds

    >>> predict_constant((0.0, 0.5), torch.tensor([10.0, 30.0])).tolist()
    [[[0.0, 5.0]], [[0.0, 15.0]]]
    """
    return duration_sec.double()[:, None, None] * torch.tensor(span, dtype=torch.float64, device=duration_sec.device)


def best_constant(
    target_sec: Tensor, duration_sec: Tensor, *, threshold: float | None, steps: int = 40
) -> tuple[float, float]:
    """Find the constant span, on a grid of 1/``steps``, with the highest score on the given pairs.

    The score is R@1,IoU=``threshold``, or mIoU if ``threshold`` is None. Of spans whose scores tie within 1e-9, the one
    with the earliest start wins, then the one with the earliest end.

    Shape: target_sec (M, 2) or (M, K, 2), duration_sec (M,), both in seconds -> (start, end) in fractions

    Raises:
        ValueError: if there are no pairs, a shape is wrong, ``threshold`` lies outside (0, 1] or ``steps`` is below 1.

    >>> target, duration = torch.tensor([[0.0, 5.0], [0.0, 3.0], [9.0, 10.0]]), torch.tensor([10.0, 10.0, 10.0])
    >>> best_constant(target, duration, threshold=0.5, steps=10)
    (0.0, 0.3)
    """
    check_recall(1, 1.0 if threshold is None else threshold)
    if steps < 1:
        raise ValueError(f"the grid of constant spans needs at least 1 step, got {steps}")
    if not len(duration_sec):
        raise ValueError("a constant span cannot be fitted to 0 pairs")
    check_pairs(predict_constant((0.0, 1.0), duration_sec), target_sec, duration_sec)
    grid = torch.arange(steps + 1, dtype=torch.float64, device=duration_sec.device) / steps
    candidates = torch.combinations(grid)  # (C, 2), in order of start, then of end
    score = torch.zeros(len(candidates), dtype=torch.float64, device=duration_sec.device)
    for chunk in range(0, len(duration_sec), _CHUNK):
        target, duration = target_sec[chunk : chunk + _CHUNK], duration_sec[chunk : chunk + _CHUNK].double()
        windows = target.reshape(len(target), -1, 1, 2)
        iou = spans.iou(candidates * duration[:, None, None, None], windows).amax(dim=1)  # (chunk, C)
        score += (iou if threshold is None else meets(iou, threshold)).sum(dim=0)
    best = int((score / len(duration_sec) >= score.max() / len(duration_sec) - TIE).nonzero()[0])
    start, end = candidates[best].tolist()
    return start, end


def trivial_predictors(train_target_sec: Tensor, train_duration_sec: Tensor) -> dict[str, tuple[float, float]]:
    """Return the constant span of each trivial predictor by name: the whole video, and two fitted to training pairs.

    Shape: as in ``best_constant`` -> name: (start, end) in fractions

    Raises:
        ValueError: if there are no pairs or a shape is wrong.

    >>> for name, span in trivial_predictors(torch.tensor([[0.0, 5.0]]), torch.tensor([10.0])).items():
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
