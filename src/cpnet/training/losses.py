"""The training loss of CPNet (CPNet, Eq. 14-16)."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from cpnet import spans
from cpnet.batch import GroundingBatch, GroundingOutput
from cpnet.models.layers.span_losses import attention_loss, regression_loss
from cpnet.options import LossOptions


@dataclass(frozen=True)
class GroundingLoss:
    """Weighted sum of both terms (CPNet, Eq. 14).

    Of several true windows, the attention term has the clips of all as targets; the regression term has the one with
    the least loss.

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
