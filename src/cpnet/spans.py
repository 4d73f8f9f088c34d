"""Algebra of spans: pure functions of tensors whose last dimension is (start, end), in any unit.

Leading dimensions broadcast.
"""

from __future__ import annotations

import torch
from torch import Tensor


def length(span: Tensor) -> Tensor:
    """Return the length of each span; 0 if it ends before it starts.

    Shape: (..., 2) -> (...)

    >>> length(torch.tensor([[1.0, 4.0], [4.0, 1.0]])).tolist()
    [3.0, 0.0]
    """
    return (span[..., 1] - span[..., 0]).clamp_min(0)


def iou(predicted: Tensor, target: Tensor) -> Tensor:
    """Return the intersection over union in [0, 1]; 0 for disjoint and for empty spans.

    Shape: (..., 2), (..., 2) -> (...)

    >>> iou(torch.tensor([0.0, 10.0]), torch.tensor([5.0, 10.0])).item()
    0.5
    """
    start = torch.maximum(predicted[..., 0], target[..., 0])
    end = torch.minimum(predicted[..., 1], target[..., 1])
    intersection = (end - start).clamp_min(0)
    union = length(predicted) + length(target) - intersection
    return torch.where(union > 0, intersection / union.clamp_min(torch.finfo(union.dtype).tiny), 0.0)


def clip_target(windows: Tensor, video_mask: Tensor) -> Tensor:
    """Return the union of the clips of each pair's true windows.

    The clips of a window are s to e - 1 with s = min(floor(start n), n - 1), e = max(ceil(end n), s + 1), where n is
    the number of real clips. A window has at least one clip, also if it is shorter than one. Windows are clipped to the
    video, so padded clips are never set.

    Shape: windows (B, K, 2) in fractions, video_mask (B, T) bool, True = real -> (B, T) bool

    >>> mask = torch.tensor([[True, True, True, True, False]])
    >>> clip_target(torch.tensor([[[0.5, 0.51], [0.0, 0.25]]]), mask).int().tolist()
    [[1, 0, 1, 0, 0]]
    """
    clips, windows = video_mask.sum(dim=1)[:, None], windows.clamp(0, 1)
    first = torch.minimum((windows[..., 0] * clips).floor(), clips - 1)
    behind = torch.maximum((windows[..., 1] * clips).ceil(), first + 1)
    t = torch.arange(video_mask.shape[1], device=windows.device)
    return ((t >= first[..., None]) & (t < behind[..., None])).any(dim=1)
