"""The algebra of spans: pure functions of tensors whose last dimension is (start, end).

All of them work in any unit and on any leading dimensions, which broadcast.
"""

from __future__ import annotations

import torch
from torch import Tensor


def length(span: Tensor) -> Tensor:
    """Length of each span; 0 for one whose end does not lie after its start.

    Shape: (..., 2) -> (...)

    >>> length(torch.tensor([[1.0, 4.0], [4.0, 1.0]])).tolist()
    [3.0, 0.0]
    """
    return (span[..., 1] - span[..., 0]).clamp_min(0)


def iou(predicted: Tensor, target: Tensor) -> Tensor:
    """Intersection over union, in [0, 1]; 0 for spans that do not meet, and for empty ones.

    The union is length + length - intersection and the order of operations is fixed, so that ties at a threshold
    fall the same way everywhere. Computed in float64.

    Shape: (..., 2), (..., 2) -> (...) float64

    >>> iou(torch.tensor([0.0, 10.0]), torch.tensor([5.0, 10.0])).item()
    0.5
    """
    predicted, target = predicted.double(), target.double()
    start = torch.maximum(predicted[..., 0], target[..., 0])
    end = torch.minimum(predicted[..., 1], target[..., 1])
    intersection = (end - start).clamp_min(0)
    union = length(predicted) + length(target) - intersection
    return torch.where(union > 0, intersection / union.clamp_min(torch.finfo(torch.float64).tiny), 0.0)


def clip_target(span: Tensor, video_mask: Tensor) -> Tensor:
    """Mark the clips of each true span: clips s..e-1 with s = min(floor(start n), n - 1), e = max(ceil(end n), s + 1).

    n is the number of real clips, so at least one clip is always on, also for a span shorter than a clip. A span that
    leaves its video is cut first: a clip that is padded is never on.

    Shape: span (B, 2) in fractions, video_mask (B, T) bool, True = real -> (B, T) bool

    >>> mask = torch.tensor([[True, True, True, True, False]])
    >>> clip_target(torch.tensor([[0.5, 0.51]]), mask).int().tolist()
    [[0, 0, 1, 0, 0]]
    """
    clips, span = video_mask.sum(dim=1), span.clamp(0, 1)
    first = torch.minimum((span[:, 0] * clips).floor(), clips - 1)
    behind = torch.maximum((span[:, 1] * clips).ceil(), first + 1)
    t = torch.arange(video_mask.shape[1], device=span.device)
    return (t >= first[:, None]) & (t < behind[:, None])
