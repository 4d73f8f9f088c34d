"""How far a training is, where nobody sees a progress bar: in a log file, or through a pipe."""

from __future__ import annotations

import logging
import time
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint, ModelCheckpoint

log = logging.getLogger(__name__)


class EpochLines(Checkpoint):
    """Logs a line an epoch: its number, seconds, training loss, and the metric by which the checkpoint is chosen.

    A long epoch has more lines. It is a ``Checkpoint`` for Lightning to call it after the module has logged.

    Args:
        every_minutes: between two lines of an epoch
    """

    def __init__(self, *, every_minutes: float = 2.0) -> None:
        self.every_sec = 60 * every_minutes
        self._began = self._said = time.monotonic()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look at the clock."""
        self._began = self._said = time.monotonic()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Say which batch it is where nothing was said for long."""
        now = time.monotonic()
        if now - self._said >= self.every_sec:
            log.info("%s, batch %d of %s", _epoch(trainer), batch_idx + 1, trainer.num_training_batches)
            self._said = now

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say what the epoch came to."""
        best = trainer.checkpoint_callback
        watched = best.monitor if isinstance(best, ModelCheckpoint) else None
        logged = trainer.callback_metrics
        said = "".join(f", {name} {float(logged[name]):.4g}" for name in ("train/loss", watched) if name in logged)
        log.info("%s: %.1f s%s", _epoch(trainer), time.monotonic() - self._began, said)


def _epoch(trainer: Trainer) -> str:
    return f"epoch {trainer.current_epoch + 1} of {trainer.max_epochs}"
