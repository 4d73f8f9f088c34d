"""Per-epoch metrics as CSV, written atomically and continued on resume."""

from __future__ import annotations

import csv
import io
import logging
from pathlib import Path
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint

from cpnet.files import replacing

Row = dict[str, str]
log = logging.getLogger(__name__)


class MetricsCSV(Checkpoint):
    """Writes one row per epoch with training means and validation metrics, and one row for each test split.

    Further validations within an epoch have rows of their own. A resumed run removes the rows after its checkpoint. If
    the file cannot be written, training continues, and the next write includes the rows.

    Derived from ``Checkpoint``, because Lightning calls such callbacks after the module has logged. Must precede
    ``Recovery``.

    Args:
        path: the file; columns are epoch (from 0), step (optimiser steps so far) and the logged names
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._rows: list[Row] = []
        self._row: Row = {}  # of the current epoch

    def state_dict(self) -> dict[str, Any]:
        """Return the number of finished rows, and the unfinished row."""
        return {"rows": len(self._rows), "row": dict(self._row)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Read the rows that precede the checkpoint."""
        self._rows, self._row = self._read()[: state_dict["rows"]], dict(state_dict["row"])

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add the validation metrics."""
        if not trainer.sanity_checking:
            if self._row:
                self._write_or_warn(trainer)
            self._add(trainer, "val/")

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the row of the epoch."""
        self._add(trainer, "train/")
        self._write_or_warn(trainer)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the row of a test split, and any rows not yet written.

        Raises:
            OSError: the file cannot be written
        """
        self._row = {}
        self._add(trainer, "test")  # of a further split: test_ood/
        self._write(trainer)

    def _add(self, trainer: Trainer, prefix: str) -> None:
        logged = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith(prefix)}
        position = {"epoch": str(trainer.current_epoch), "step": str(trainer.global_step)}
        self._row |= position | {name: repr(value) for name, value in logged.items()}

    def _write_or_warn(self, trainer: Trainer) -> None:
        try:
            self._write(trainer)
        except OSError as error:
            log.warning("%s cannot be written (%s); its rows are kept for the next write", self.path, error.strerror)

    def _write(self, trainer: Trainer) -> None:
        self._rows.append(self._row)
        self._row = {}
        if trainer.is_global_zero:
            names = sorted({name for row in self._rows for name in row} - {"epoch", "step"})
            text = io.StringIO()
            writer = csv.DictWriter(text, ["epoch", "step", *names], lineterminator="\n")
            writer.writeheader()
            writer.writerows(self._rows)
            with replacing(self.path) as stream:
                stream.write(text.getvalue().encode())

    def _read(self) -> list[Row]:
        if not self.path.is_file():
            return []
        with self.path.open(encoding="utf-8", newline="") as stream:
            return [{name: value for name, value in row.items() if value} for row in csv.DictReader(stream)]
