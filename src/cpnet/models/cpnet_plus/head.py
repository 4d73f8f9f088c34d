"""Answers at every step of every level: spans, their scores, and both losses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cpnet import spans as algebra
from cpnet.models.layers.dense_losses import distance_iou_loss

PRIOR = -2.0  # logit of the quality before training: most spans overlap the moment little


@dataclass(frozen=True, kw_only=True)
class Answers:
    """An answer of every step, M of all levels together, the finest level first.

    Shape:
        - spans: (B, M, 2) in fractions of the video, start <= end, may leave [0, 1]
        - logits: (B, M) of the predicted IoU
        - parts: (B, M, 2) the part of the video that each step covers, in fractions
        - mask: (B, M) bool, True = real
    """

    spans: Tensor
    logits: Tensor
    parts: Tensor
    mask: Tensor


class DenseHead(nn.Module):
    """Predict at each step the distances from its centre to start and end, in steps of its level, and the IoU.

    Shape: level p (B, T_p, D), mask p (B, T_p) bool, True = real, finest first, whose steps cover ``patch`` of the real
        ``clips`` (B,) of each video -> :class:`Answers` in float32 or wider
    """

    def __init__(self, width: int, *, levels: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(levels))
        self.hidden = nn.Linear(width, width)
        self.out = nn.Linear(width, 3)

    def forward(self, levels: Sequence[Tensor], masks: Sequence[Tensor], *, clips: Tensor, patch: int) -> Answers:
        """Answer at every step."""
        real = clips[:, None]
        hidden = torch.cat([norm(level) for norm, level in zip(self.norms, levels, strict=True)], dim=1)
        out = self.out(F.relu(self.hidden(hidden)))
        out = out.to(torch.promote_types(out.dtype, torch.float32))
        sizes = [(level.shape[1], patch * 2**p) for p, level in enumerate(levels)]
        stride = torch.cat([real.new_full((steps,), each) for steps, each in sizes])[:, None]
        parts = torch.cat([covered(steps, each, real) for steps, each in sizes], dim=1).to(out.dtype)
        distance = F.softplus(out[..., :2]) * stride
        sign = distance.new_tensor([-1.0, 1.0])
        centre = parts.mean(dim=-1, keepdim=True)
        return Answers(
            spans=(centre + sign * distance) / real[..., None],
            logits=out[..., 2] + PRIOR,
            parts=parts / real[..., None],
            mask=torch.cat(tuple(masks), dim=1),
        )


def covered(steps: int, stride: int, real: Tensor) -> Tensor:
    """Return the first clip that each step of a level covers, and the clip behind its last.

    Shape: real (B, 1) -> (B, steps, 2)

    >>> covered(2, 4, torch.tensor([[5]])).tolist()
    [[[0, 4], [4, 5]]]
    """
    first = torch.arange(0, steps * stride, stride, device=real.device).expand(len(real), -1)
    return torch.stack((first, torch.minimum(first + stride, real).maximum(first)), dim=-1)


def assign(answers: Answers, windows: Tensor, *, radius: float) -> tuple[Tensor, Tensor]:
    """Assign each step to the true window whose centre is nearest, if it is within ``radius`` of its own lengths.

    Shape: windows (B, K, 2) -> matched windows (B, M, 2), positive (B, M) bool
    """
    centre, size = answers.parts.mean(dim=-1), answers.parts.diff(dim=-1).squeeze(-1)
    distance = (centre[..., None] - windows.mean(dim=-1)[:, None]).abs()  # (B, M, K)
    nearest, window = distance.min(dim=-1)
    matched = windows.gather(1, window[..., None].expand(-1, -1, 2))
    return matched, (nearest <= radius * size) & answers.mask


def span_loss(spans: Tensor, matched: Tensor, positive: Tensor) -> Tensor:
    """Return the mean DIoU loss of the positive steps of each pair, averaged over pairs.

    Shape: spans and matched (B, M, 2), positive (B, M) bool -> scalar
    """
    loss = torch.where(positive, distance_iou_loss(spans, matched), 0.0)
    return (loss.sum(dim=1) / positive.sum(dim=1).clamp_min(1)).mean()


def quality_loss(answers: Answers, windows: Tensor) -> Tensor:
    """Return the cross-entropy of each step's score and the IoU of its span with the best true window.

    The minimum is the expected IoU, so that the best score is the best answer for mIoU.

    Shape: windows (B, K, 2) -> scalar, the mean over the steps of each pair, then over pairs
    """
    spans = answers.spans.detach().clamp(0, 1)
    iou = algebra.iou(spans[:, :, None], windows[:, None]).amax(dim=-1).to(answers.logits.dtype)
    loss = F.binary_cross_entropy_with_logits(answers.logits, iou, reduction="none") * answers.mask
    return (loss.sum(dim=1) / answers.mask.sum(dim=1)).mean()
