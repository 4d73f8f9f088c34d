"""Losses of models that predict a score and a span at every clip."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from cpnet import spans

ALPHA, GAMMA = 0.5, 2.0  # of the focal loss


def focal_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Compute the sigmoid focal loss of each element (Lin et al. 2017); ``ALPHA`` weighs positives, 1 - ALPHA others.

    Shape: logits and target of any shape, target in [0, 1] -> the same

    >>> round(focal_loss(torch.tensor(0.0), torch.tensor(1.0)).item(), 4)  # 0.5 * 0.5^2 log 2
    0.0866
    """
    p = logits.sigmoid()
    wrong = p * (1 - target) + (1 - p) * target
    weight = ALPHA * target + (1 - ALPHA) * (1 - target)
    return weight * wrong**GAMMA * F.binary_cross_entropy_with_logits(logits, target, reduction="none")


def distance_iou_loss(span: Tensor, target: Tensor) -> Tensor:
    """Compute 1 - IoU + (distance of the centres / length of the hull)^2 of each span (Zheng et al. 2020).

    Differentiable for disjoint spans too, unlike 1 - IoU; in the dtype of ``span``.

    Shape: span (..., 2) with start <= end, target (..., 2), in any unit -> (...)

    >>> distance_iou_loss(torch.tensor([0.0, 1.0]), torch.tensor([1.0, 2.0])).item()
    1.25
    """
    hull = torch.maximum(span[..., 1], target[..., 1]) - torch.minimum(span[..., 0], target[..., 0])
    distance = (span.sum(dim=-1) - target.sum(dim=-1)) / 2
    return 1 - spans.iou(span, target) + (distance / hull.clamp_min(torch.finfo(span.dtype).eps)) ** 2
