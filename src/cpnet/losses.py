"""The two terms that CPNet is trained with, an equation each (CPNet, Eq. 14-16)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from cpnet import spans
from cpnet.batch import GroundingBatch, GroundingOutput


def attention_loss(
    log_attention: Tensor, target: Tensor, *, normalizer: Literal["target", "literal"] = "target"
) -> Tensor:
    """``-sum_t y_t log a_t / sum_t y_t``: attention should lie on the true clips (CPNet, Eq. 15).

    Departs from the paper: its denominator is ``sum_t a_t``, which is always 1 and stays on offer as ``literal``; the
    works it cites (ABLR; LGI's guidance loss) divide by ``sum_t y_t``.

    Shape: log_attention (B, T), target (B, T) bool, True = inside the true span -> scalar, mean over B

    >>> log_attention = torch.tensor([[0.5, 0.25, 0.25]]).log()
    >>> round(attention_loss(log_attention, torch.tensor([[False, True, True]])).item(), 4)
    1.3863
    """
    inside = torch.where(target, log_attention, 0.0).sum(dim=1)
    return -(inside / target.sum(dim=1) if normalizer == "target" else inside).mean()


def regression_loss(span: Tensor, target: Tensor) -> Tensor:
    """Smooth L1 (beta 1) on the start plus the same on the end, in fractions (CPNet, Eq. 16).

    Shape: (B, 2), (B, 2) -> scalar, mean over B

    >>> regression_loss(torch.tensor([[0.0, 1.0]]), torch.tensor([[0.5, 1.0]])).item()
    0.125
    """
    return F.smooth_l1_loss(span, target, reduction="none").sum(dim=1).mean()


@dataclass(frozen=True, kw_only=True)
class GroundingLoss:
    """The weighted sum of both terms, and each of them by name (CPNet, Eq. 14).

    Args:
        attention_weight: weight of :func:`attention_loss`
        regression_weight: weight of :func:`regression_loss`
        attention_normalizer: what divides the attention term

    Raises:
        ValueError: for a weight that is negative or not finite, or an unknown normaliser; the message names the key
            under ``loss``
    """

    attention_weight: float = 1.0
    regression_weight: float = 1.0
    attention_normalizer: Literal["target", "literal"] = "target"

    def __post_init__(self) -> None:
        if self.attention_normalizer not in ("target", "literal"):
            raise ValueError(
                f"loss.attention_normalizer must be one of target, literal; got {self.attention_normalizer!r}"
            )
        for key in ("attention_weight", "regression_weight"):
            if not 0 <= getattr(self, key) < math.inf:
                raise ValueError(f"loss.{key} must be finite and 0 or more; got {getattr(self, key)}")

    def __call__(self, output: GroundingOutput, batch: GroundingBatch) -> dict[str, Tensor]:
        """Return the scalars ``loss`` (to minimise), ``attention`` and ``regression`` (unweighted)."""
        target = spans.clip_target(batch.span, batch.clip_mask)
        attention = attention_loss(output.log_attention, target, normalizer=self.attention_normalizer)
        regression = regression_loss(output.span, batch.span)
        loss = self.attention_weight * attention + self.regression_weight * regression
        return {"loss": loss, "attention": attention, "regression": regression}
