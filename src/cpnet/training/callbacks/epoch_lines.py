"""Log one line per epoch where no progress bar is visible: in a log file or a pipe."""

from __future__ import annotations

import logging
import time
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint, ModelCheckpoint

log = logging.getLogger(__name__)

EVERY_SEC = 120  # between lines within an epoch


class EpochLines(Checkpoint):
    """Logs the duration, training loss and monitored metric of each epoch, and the progress within long epochs.

    Derived from ``Checkpoint``, because Lightning calls such callbacks after the module has logged.
    """

    def __init__(self) -> None:
        self._epoch_start = self._last_line = time.monotonic()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._epoch_start = self._last_line = time.monotonic()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Log the batch if the last line is older than ``EVERY_SEC``."""
        now = time.monotonic()
        if now - self._last_line >= EVERY_SEC:
            log.info("%s, batch %d of %s", _epoch(trainer), batch_idx + 1, trainer.num_training_batches)
            self._last_line = now

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the epoch."""
        best = trainer.checkpoint_callback
        validated = (trainer.current_epoch + 1) % (trainer.check_val_every_n_epoch or 1) == 0
        monitor = best.monitor if validated and isinstance(best, ModelCheckpoint) else None
        logged = trainer.callback_metrics
        values = "".join(f", {name} {float(logged[name]):.4g}" for name in ("train/loss", monitor) if name in logged)
        log.info("%s: %.1f s%s", _epoch(trainer), time.monotonic() - self._epoch_start, values)


def _epoch(trainer: Trainer) -> str:
    return f"epoch {trainer.current_epoch + 1} of {trainer.max_epochs}"
