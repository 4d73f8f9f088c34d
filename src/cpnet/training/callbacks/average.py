"""Moving average of the weights, for validation and test."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import WeightAveraging
from torch import Tensor


class WeightAverage(WeightAveraging):
    """Averages the weights over the latest steps; validates, keeps and tests the averages.

    The weights of ``state_dict`` in every checkpoint are the averages; resuming continues from ``current_model_state``.
    A fixed decay, such as 0.999 of Lightning's ``EMAWeightAveraging``, suits one length of training only: after fewer
    than a few thousand steps its average still contains the random first weights.

    Args:
        share: time constant of the average, as a share of the steps so far; 1 for the plain mean of all steps

    Raises:
        ValueError: ``share`` is not above 0 and at most 1
    """

    def __init__(self, *, share: float = 0.1) -> None:
        if not 0 < share <= 1:
            raise ValueError(f"share must be above 0 and at most 1; got {share}")
        self.share = share
        # Buffers are copied: an average of constants, such as word vectors, is not exactly the constant.
        super().__init__(use_buffers=False, multi_avg_fn=self.update)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Move the averages to the device of the model, because Lightning copies the model before it moves it."""
        assert self._average_model is not None
        self._average_model.module.to(pl_module.device)  # the number of steps stays on the host

    def update(self, averages: Sequence[Tensor], weights: Sequence[Tensor], _: Tensor | int) -> None:
        """Move each average towards its weight, by one part in ``share`` times the steps so far."""
        assert self._average_model is not None
        steps = int(self._average_model.n_averaged) + 1
        torch._foreach_lerp_(list(averages), list(weights), 1 / max(1.0, self.share * steps))
