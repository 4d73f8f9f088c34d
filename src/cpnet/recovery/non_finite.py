"""Numbers that are not finite: a step is skipped, too many in a row end the run, and their batch can be looked at."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from cpnet.data.datamodule import GroundingDataModule
from cpnet.data.moment import DataError
from cpnet.module import GroundingModule
from cpnet.recovery.randomness import random_state

log = logging.getLogger(__name__)

FILE = "non_finite.ckpt"


class NonFinite(Callback):
    """Says that a step was skipped, and ends the run after some in a row, with the last one's batch kept.

    The file is a checkpoint of the weights that the step began with, and has under ``replay`` the epoch, the number of
    the last batch, and of each batch whose gradients the step adds up: its number, the qids of its pairs on each
    process, and the generators of random numbers before it.

    Args:
        folder: for the file
        limit: how many steps in a row

    Raises:
        ValueError: a limit below 1
    """

    def __init__(self, folder: str | Path, *, limit: int) -> None:
        if limit < 1:
            raise ValueError(f"limit must be 1 or more; got {limit}")
        self.folder, self.limit = Path(folder), limit
        self._batches: list[dict[str, Any]] = []  # of the step that may be the last
        self._told = 0

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Keep the batch, and take the generators, where the step may be the last."""
        assert isinstance(pl_module, GroundingModule)
        self._told = pl_module.skipped
        if batch_idx % trainer.accumulate_grad_batches == 0:
            self._batches = []
        if pl_module.skipped_in_a_row + 1 >= self.limit:
            self._batches.append({"batch": batch_idx, "qids": batch.index, "random": random_state()})

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Tell of a step that was skipped.

        Raises:
            DataError: it is the last that was allowed
        """
        assert isinstance(pl_module, GroundingModule)
        if pl_module.skipped == self._told:
            return
        row = pl_module.skipped_in_a_row
        place = f"epoch {trainer.current_epoch}, batch {batch_idx}"
        log.warning("%s: the gradients are not finite; the step is skipped, the run's %d.", place, pl_module.skipped)
        if row < self.limit:
            return
        datamodule = getattr(trainer, "datamodule", None)
        assert isinstance(datamodule, GroundingDataModule)
        moments = datamodule.dataset("train").moments
        for each in self._batches:
            each["qids"] = [[moments[index].qid for index in each["qids"].tolist()]]
            if trainer.world_size > 1:
                own, each["qids"] = each["qids"][0], [None] * trainer.world_size
                torch.distributed.all_gather_object(each["qids"], own)
        state = trainer._checkpoint_connector.dump_checkpoint(weights_only=True)
        state["replay"] = {"epoch": trainer.current_epoch, "batch": batch_idx, "batches": self._batches}
        trainer.strategy.save_checkpoint(state, self.folder / FILE)
        raise DataError(
            f"{place}: {row} steps in a row had gradients that are not finite, and the run ends"
            f" (callbacks.non_finite.limit)\n  where they come from: python -m cpnet.train replay={self.folder / FILE}"
        )
