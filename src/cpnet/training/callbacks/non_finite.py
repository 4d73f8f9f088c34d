"""Guard against non-finite gradients: report skipped steps, and fail after several in a row."""

from __future__ import annotations

import logging
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from cpnet.errors import DataError, quote
from cpnet.training.module import NOT_FINITE, GroundingModule

log = logging.getLogger(__name__)


class NonFinite(Callback):
    """Logs each step that the module skips, and fails after ``limit`` skipped steps in a row.

    Args:
        limit: number of consecutive skipped steps that ends the run

    Raises:
        ValueError: ``limit`` is below 1
    """

    def __init__(self, *, limit: int) -> None:
        if limit < 1:
            raise ValueError(f"limit must be 1 or more; got {limit}")
        self.limit = limit
        self._indices: list[Tensor] = []  # positions of the pairs of the current step, in all of its batches
        self._skipped = 0  # steps skipped before the current one

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Collect the pairs of the step."""
        assert isinstance(pl_module, GroundingModule)
        self._skipped = pl_module.skipped
        if batch_idx % trainer.accumulate_grad_batches == 0:
            self._indices = []
        self._indices.append(batch.index)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Log a skipped step.

        Raises:
            DataError: ``limit`` steps in a row were skipped
        """
        assert isinstance(pl_module, GroundingModule)
        if pl_module.skipped == self._skipped:
            return
        row, place = pl_module.skipped_in_a_row, f"epoch {trainer.current_epoch + 1}, batch {batch_idx + 1}"
        log.warning("%s: gradients are not finite; step skipped (%d skipped so far)", place, pl_module.skipped)
        if row >= self.limit:
            moments = trainer.datamodule.dataset("train").moments  # type: ignore[attr-defined]
            qids = [moments[index].qid for index in torch.cat(self._indices).tolist()]
            raise DataError(
                f"{place}: gradients were not finite in {row} steps in a row (callbacks.non_finite.limit)\n"
                f"  pairs of the last step: {quote(qids)}\n"
                f"  {NOT_FINITE}\n  To find the operation that fails, rerun with trainer.detect_anomaly=true"
            )
