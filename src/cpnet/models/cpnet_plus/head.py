"""Answers at every step of every level: spans, their scores, and the losses of both."""

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
class Steps:
    """The steps of all levels, M together, the finest level first.

    Shape:
        - centre: (B, M) of the part of the video that a step covers, in fractions
        - size: (B, M) length of the steps of its level, in fractions
        - mask: (B, M) bool, True = real
    """

    centre: Tensor
    size: Tensor
    mask: Tensor


@dataclass(frozen=True, kw_only=True)
class Answers:
    """A span and a score of every step.

    Shape:
        - spans: (B, M, 2) in fractions of the video, start <= end, may leave [0, 1]
        - logits: (B, M) of the predicted IoU
        - steps: where they are
    """

    spans: Tensor
    logits: Tensor
    steps: Steps


def lay_out(masks: Sequence[Tensor], clips: Tensor, *, patch: int) -> Steps:
    """Return the steps of levels whose finest has ``patch`` clips a step.

    Shape: mask p (B, T_p) bool, True = real, finest first; clips (B,) number of real clips of each video

    >>> masks = torch.ones(1, 3, dtype=torch.bool), torch.ones(1, 2, dtype=torch.bool)
    >>> lay_out(masks, torch.tensor([5]), patch=2).centre.mul(5).tolist()  # clips 0-2, 2-4, 4-5, 0-4, 4-5
    [[1.0, 3.0, 4.5, 2.0, 4.5]]
    """
    real, sizes = clips[:, None], [patch * 2**p for p in range(len(masks))]
    first = torch.cat([size * torch.arange(m.shape[1], device=m.device) for size, m in zip(sizes, masks, strict=True)])
    size = torch.cat([real.new_full(m.shape[1:], size) for size, m in zip(sizes, masks, strict=True)])
    centre = (first + torch.minimum(first + size, real)) / 2
    return Steps(centre=centre / real, size=size / real, mask=torch.cat(tuple(masks), dim=1))


class DenseHead(nn.Module):
    """Predict at each step the distances from its centre to start and end, in sizes of the step, and the IoU.

    With ``refine``, the first answers are spans alone. Each then reads the finest level at its start, at its end and in
    between, corrects itself, and is scored, so that the score depends on the span that it judges.

    Shape: level p (B, T_p, D), finest first, and the steps of all levels -> the first spans (B, M, 2), and
        :class:`Answers`, in float32 or wider; without ``refine``, their spans are the first spans
    """

    def __init__(self, width: int, *, levels: int, refine: bool) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(levels))
        self.hidden = nn.Linear(width, width)
        self.out = nn.Linear(width, 2 if refine else 3)
        self.reading = nn.Linear(width, 3 * width) if refine else None  # of start, end and inside
        self.correction = nn.Linear(width, 3) if refine else None

    def forward(self, levels: Sequence[Tensor], steps: Steps) -> tuple[Tensor, Answers]:
        """Answer at every step; with ``refine``, correct the answers."""
        normed = [norm(level) for norm, level in zip(self.norms, levels, strict=True)]
        hidden = self.hidden(torch.cat(normed, dim=1))
        out = self.out(F.relu(hidden))
        first = to_spans(out, steps)
        if self.reading is None or self.correction is None:
            return first, Answers(spans=first, logits=to_logits(out), steps=steps)
        finest = normed[0]
        weights = readings(first.detach() / steps.size[:, 0, None, None], steps.mask[:, : finest.shape[1]])
        values = self.reading(finest).chunk(3, dim=2)
        read = sum((w.to(finest.dtype) @ value for w, value in zip(weights, values, strict=True)), hidden)
        corrected = self.correction(F.relu(read))
        spans = to_spans(out.detach() + corrected[..., :2], steps)  # the first spans have a loss of their own
        return first, Answers(spans=spans, logits=to_logits(corrected), steps=steps)


def to_spans(out: Tensor, steps: Steps) -> Tensor:
    """Return the spans of two distances from the centre, in sizes of the step. Shape: (B, M, 2 or 3) -> (B, M, 2)"""
    out = out[..., :2].to(torch.promote_types(out.dtype, torch.float32))
    distance = F.softplus(out) * steps.size[..., None]
    return steps.centre[..., None] + distance * distance.new_tensor([-1.0, 1.0])


def to_logits(out: Tensor) -> Tensor:
    """Return the logits of the IoU, the third number that the head predicts. Shape: (B, M, 3) -> (B, M)"""
    return out[..., 2].to(torch.promote_types(out.dtype, torch.float32)) + PRIOR


def readings(spans: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the weights of the steps of the finest level with which each span reads its start, its end and inside.

    Start and end are interpolated between the centres of steps; inside is a mean over the real steps.

    Shape: spans (B, M, 2) in steps, mask (B, S) bool, True = real -> three (B, M, S), whose rows sum to 1
    """
    step = torch.arange(mask.shape[1], device=mask.device)
    last = mask.sum(dim=1)[:, None, None] - 1
    place = torch.minimum((spans - 0.5).clamp_min(0), last)  # between the centres of the first and the last step
    start, end = ((1 - (place[..., i, None] - step).abs()).clamp_min(0) for i in range(2))
    overlap = torch.minimum(spans[..., 1:], step + 1) - torch.maximum(spans[..., :1], step)
    overlap = overlap.clamp_min(0) * mask[:, None]
    return start, end, overlap / overlap.sum(dim=2, keepdim=True).clamp_min(1e-6)


def assign(steps: Steps, windows: Tensor, *, radius: float) -> tuple[Tensor, Tensor]:
    """Assign each step to the true window whose centre is nearest, if it is within ``radius`` sizes of the step.

    Shape: windows (B, K, 2) -> matched windows (B, M, 2), positive (B, M) bool
    """
    distance = (steps.centre[..., None] - windows.mean(dim=-1)[:, None]).abs()  # (B, M, K)
    nearest, window = distance.min(dim=-1)
    matched = windows.gather(1, window[..., None].expand(-1, -1, 2))
    return matched, (nearest <= radius * steps.size) & steps.mask


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
    spans, mask = answers.spans.detach().clamp(0, 1), answers.steps.mask
    iou = algebra.iou(spans[:, :, None], windows[:, None]).amax(dim=-1).to(answers.logits.dtype)
    loss = F.binary_cross_entropy_with_logits(answers.logits, iou, reduction="none") * mask
    return (loss.sum(dim=1) / mask.sum(dim=1)).mean()
