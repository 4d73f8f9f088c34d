"""Scores of single pairs as pure functions in float64: IoU, recall and discounted recall.

Predictions and targets are in seconds. A target is one true window (B, 2) or several (B, K, 2): a query counts once, by
its best window. Comparisons with thresholds tolerate 1e-9, so that exact ties, which do occur, count the same on every
platform.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import pad

from cpnet import spans

TIE = 1e-9


def check_recall(n: int, threshold: float) -> None:
    """Check the parameters of R@n,IoU=m.

    Raises:
        ValueError: if ``n`` is below 1 or ``threshold`` outside (0, 1].
    """
    if n < 1:
        raise ValueError(f"R@n,IoU=m counts the first n predictions: n must be at least 1, got {n}")
    if not 0 < threshold <= 1:
        raise ValueError(f"an IoU threshold must lie in (0, 1], got {threshold}")


def check_pairs(ranked: Tensor, target: Tensor, duration: Tensor | None = None) -> None:
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


def meets(iou: Tensor, threshold: float, *, strict: bool = False) -> Tensor:
    """Return whether each IoU is at least the threshold, or above it if ``strict``; equality holds within 1e-9.

    Shape: (...) -> (...) bool

    >>> import torch
    >>> iou = torch.tensor([0.4, 0.5, 0.6], dtype=torch.float64)
    >>> meets(iou, 0.5).tolist(), meets(iou, 0.5, strict=True).tolist()
    ([False, True, True], [False, False, True])
    """
    return iou > threshold + TIE if strict else iou >= threshold - TIE


def best_iou(ranked: Tensor, target: Tensor, *, n: int = 1) -> Tensor:
    """Return the highest IoU of the first ``n`` predictions with a true window; 0 for a pair without predictions.

    Shape: ranked (B, N, 2), target (B, 2) or (B, K, 2), both in seconds -> (B,) float64

    Raises:
        ValueError: if ``n`` is below 1 or a shape is wrong.

    >>> import torch
    >>> ranked, target = torch.tensor([[[0.0, 9.0], [5.0, 10.0]]]), torch.tensor([[0.0, 10.0]])
    >>> best_iou(ranked, target, n=1).item(), best_iou(ranked[:, 1:], target, n=5).item()
    (0.9, 0.5)
    """
    check_recall(n, 1.0)
    check_pairs(ranked, target)
    return _best(spans.iou(ranked[:, :n, None], _windows(target)))


def recall_at_iou(ranked: Tensor, target: Tensor, *, n: int, threshold: float, strict: bool = False) -> Tensor:
    """Return whether one of the first ``n`` predictions has an IoU of at least ``threshold`` with a true window.

    R@n,IoU=m of TALL (Gao et al. 2017), with >= as in the code of TALL, LGI, VSLNet and SnAG. ``strict`` uses >, as in
    CPNet's text and the code of 2D-TAN.

    Shape: ranked (B, N, 2), target (B, 2) or (B, K, 2), both in seconds -> (B,) bool

    Raises:
        ValueError: if ``n`` is below 1, ``threshold`` outside (0, 1] or a shape is wrong.

    >>> import torch
    >>> ranked, target = torch.tensor([[[0.0, 4.0], [0.0, 5.0]]]), torch.tensor([[0.0, 10.0]])
    >>> [recall_at_iou(ranked, target, n=n, threshold=0.5).item() for n in (1, 2)]
    [False, True]
    """
    check_recall(n, threshold)
    return meets(best_iou(ranked, target, n=n), threshold, strict=strict)


def discounted_recall(
    ranked: Tensor, target: Tensor, duration: Tensor, *, n: int, threshold: float, strict: bool = False
) -> Tensor:
    """Return each hit of ``recall_at_iou`` times (1 - start error) times (1 - end error).

    dR@n,IoU@m of Yuan et al. 2021, "A Closer Look at Temporal Sentence Grounding in Videos". Errors are absolute
    differences as fractions of the video; a factor is at least 0, because a prediction may exceed the video. If several
    predictions or windows of a pair make a hit, the highest product counts.

    Shape: ranked (B, N, 2), target (B, 2) or (B, K, 2), duration (B,), all in seconds -> (B,) float64 in [0, 1]

    Raises:
        ValueError: if ``n`` is below 1, ``threshold`` outside (0, 1], a shape is wrong or a duration not positive.

    >>> import torch
    >>> ranked, target = torch.tensor([[[0.0, 5.0]]]), torch.tensor([[0.0, 10.0]])
    >>> discounted_recall(ranked, target, torch.tensor([10.0]), n=1, threshold=0.5).item()
    0.5
    """
    check_recall(n, threshold)
    check_pairs(ranked, target, duration)
    if not bool((duration > 0).all()):
        raise ValueError(f"durations must be positive, got {duration[~(duration > 0)][0].item()}")
    ranked, target = ranked[:, :n, None].double(), _windows(target).double()
    error = (ranked - target).abs() / duration.double()[:, None, None, None]
    discount = (1 - error).clamp_min(0).prod(dim=-1)
    return _best(discount.where(meets(spans.iou(ranked, target), threshold, strict=strict), 0.0))


def _windows(target: Tensor) -> Tensor:
    """Return the windows of each pair, to be compared with each prediction. Shape: (B, 1, K, 2)"""
    return target[:, None, None] if target.ndim == 2 else target[:, None]


def _best(score: Tensor) -> Tensor:
    """Return the best score of each pair over predictions and windows. Shape: (B, N, K) -> (B,)"""
    # The added 0 is the score of a pair without predictions; no score is lower.
    return pad(score.flatten(1), (0, 1)).amax(dim=1)
