"""The training loss of CPNet and its two terms (CPNet, Eq. 14-16)."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from cpnet import spans
from cpnet.batch import GroundingBatch, GroundingOutput
from cpnet.options import LossOptions


def attention_loss(log_attention: Tensor, target: Tensor, *, normalizer: str = "target") -> Tensor:
    """Reward attention on the true clips: ``-sum_t y_t log a_t / sum_t y_t`` (CPNet, Eq. 15).

    Departs from the paper, whose denominator ``sum_t a_t`` is always 1. The works it cites (ABLR; LGI's guidance loss)
    divide by ``sum_t y_t``. The paper's form is available as ``literal``.

    Shape: log_attention (B, T), target (B, T) bool, True = inside a true window -> scalar, mean over B

    >>> log_attention = torch.tensor([[0.5, 0.25, 0.25]]).log()
    >>> round(attention_loss(log_attention, torch.tensor([[False, True, True]])).item(), 4)
    1.3863
    """
    inside = torch.where(target, log_attention, 0.0).sum(dim=1)
    return -(inside / target.sum(dim=1) if normalizer == "target" else inside).mean()


def regression_loss(span: Tensor, windows: Tensor) -> Tensor:
    """Sum of the smooth L1 losses (beta 1) of start and end, in fractions of the video (CPNet, Eq. 16).

    Of several true windows, the one with the least loss counts.

    Shape: span (B, 2), windows (B, K, 2) -> scalar, mean over B

    >>> regression_loss(torch.tensor([[0.0, 1.0]]), torch.tensor([[[0.5, 1.0], [0.0, 0.1]]])).item()
    0.125
    """
    loss = F.smooth_l1_loss(span[:, None].expand_as(windows), windows, reduction="none").sum(dim=-1)
    return loss.amin(dim=1).mean()


@dataclass(frozen=True)
class GroundingLoss:
    """Weighted sum of both terms (CPNet, Eq. 14).

    Args:
        options: weights of the terms, and the normaliser of the attention term
    """

    options: LossOptions = field(default_factory=LossOptions)

    def __call__(self, output: GroundingOutput, batch: GroundingBatch) -> dict[str, Tensor]:
        """Return the scalar ``loss`` and its unweighted terms ``attention`` and ``regression``.

        Raises:
            ValueError: the model returns no attention
        """
        if output.log_attention is None:
            raise ValueError("loss: the model returns no log_attention; implement its method loss(output, batch)")
        options = self.options
        target = spans.clip_target(batch.windows, batch.clip_mask)
        attention = attention_loss(output.log_attention, target, normalizer=options.attention_normalizer)
        regression = regression_loss(output.span, batch.windows)
        loss = options.attention_weight * attention + options.regression_weight * regression
        return {"loss": loss, "attention": attention, "regression": regression}
