"""Write last.ckpt: periodically, after every epoch, and when a signal ends the run."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint

from cpnet.errors import DataError
from cpnet.launch.signals import Interrupted, Signals
from cpnet.runs.folder import LAST, NEXT, PREVIOUS

log = logging.getLogger(__name__)

AGREE_EVERY = 8  # batches between two exchanges in which processes agree to save or stop; each exchange makes them wait


class Recovery(Checkpoint):
    """Writes last.ckpt and keeps the checkpoint before it as previous.ckpt. ``ExactResume`` reads them.

    After a signal, all processes finish the current step, or the current validation, write a checkpoint and raise
    ``Interrupted``.

    Args:
        folder: folder of the checkpoints
        every_n_steps: optimiser steps between checkpoints within an epoch; 0 for none
        every_n_minutes: minutes between checkpoints within an epoch; 0 for none
        signals: the signals that end the run

    Raises:
        ValueError: a negative interval
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        every_n_steps: int = 0,
        every_n_minutes: float = 0,
        signals: Signals | None = None,
    ) -> None:
        if every_n_steps < 0 or every_n_minutes < 0:
            raise ValueError(
                f"every_n_steps and every_n_minutes must be 0 or more; got {every_n_steps}, {every_n_minutes}"
            )
        self.folder, self.signals = Path(folder), signals or Signals()
        self.every_n_steps, self.every_n_minutes = every_n_steps, every_n_minutes
        self._saved_step, self._saved_time = 0, time.monotonic()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the intervals, and defer signals until a step is done."""
        self._saved_step, self._saved_time = trainer.global_step, time.monotonic()
        self.signals.defer()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write a checkpoint if one is due or a signal arrived; then raise ``Interrupted`` after a signal."""
        if (batch_idx + 1) % trainer.accumulate_grad_batches:  # no checkpoint holds accumulated gradients
            return
        if _validation_follows(trainer, batch_idx):  # resuming from here, Lightning would skip the validation
            return
        if trainer.world_size > 1 and (batch_idx + 1) % AGREE_EVERY:
            return
        signal = self._signal(trainer)
        if signal or self._due(trainer):
            self.save(trainer)
        _raise_if(signal)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write a checkpoint, and stop after a signal."""
        self.save(trainer)
        _raise_if(self._signal(trainer))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop deferring signals: from now on they end the run at once."""
        self.signals.deferring = False
        _raise_if(self._signal(trainer))

    def save(self, trainer: Trainer) -> None:
        """Write last.ckpt; all processes call this together. If the write fails, log a warning and continue."""
        checkpoint = trainer._checkpoint_connector.dump_checkpoint(weights_only=False)
        try:
            trainer.strategy.save_checkpoint(checkpoint, self.folder / NEXT)
            if trainer.is_global_zero:
                rotate(self.folder)
        except DataError as error:
            log.warning("%s; training continues without this checkpoint", error)
        trainer.strategy.barrier(LAST)
        self._saved_step, self._saved_time = trainer.global_step, time.monotonic()

    def _due(self, trainer: Trainer) -> bool:
        steps = bool(self.every_n_steps) and trainer.global_step - self._saved_step >= self.every_n_steps
        minutes = bool(self.every_n_minutes) and time.monotonic() - self._saved_time >= 60 * self.every_n_minutes
        return trainer.strategy.reduce_boolean_decision(steps or minutes, all=False)

    def _signal(self, trainer: Trainer) -> int | None:
        """Return the number of the signal that any process has received."""
        if trainer.world_size == 1:
            return self.signals.received
        received = torch.tensor(self.signals.received or 0, device=trainer.strategy.root_device)
        torch.distributed.all_reduce(received, torch.distributed.ReduceOp.MAX)
        return int(received) or None


def rotate(folder: Path) -> None:
    """Rename last.ckpt to previous.ckpt, then next.ckpt to last.ckpt. Resuming reads the newest of the three."""
    if (folder / LAST).exists():
        (folder / LAST).replace(folder / PREVIOUS)
    (folder / NEXT).replace(folder / LAST)


def _raise_if(signal: int | None) -> None:
    if signal:
        raise Interrupted(signal, agreed=True)


def _validation_follows(trainer: Trainer, batch_idx: int) -> bool:
    every = trainer.val_check_batch
    return trainer.is_last_batch or (every is not None and (batch_idx + 1) % every == 0)
