"""metrics.csv: what each epoch came to, in a file that is whole at any time and goes on with its run."""

from __future__ import annotations

import csv
import io
import logging
from pathlib import Path
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint

from cpnet.data.atomic import replacing

Row = dict[str, str]
log = logging.getLogger(__name__)


class MetricsFile(Checkpoint):
    """Writes a row an epoch, with the means of training and the metrics of validation, and one with those of the test.

    A validation within an epoch has a row of its own. A run that goes on from a checkpoint drops the rows that were
    written after it: their epochs come again. Where the file cannot be written, training goes on, and the rows wait.

    It is a ``Checkpoint`` for Lightning to call it after the module has logged, and before the state is written.

    Args:
        path: the file; columns are epoch, from 0, step, the optimiser steps until then, and the logged names
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._rows: list[Row] = []
        self._row: Row = {}
        self._known: dict[str, Any] = {"rows": 0, "row": {}}  # what belongs to the state that a run goes on from

    def state_dict(self) -> dict[str, Any]:
        """How many rows belong to the state, and the one that is not written yet."""
        return {"rows": len(self._rows), "row": dict(self._row)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep them for the beginning of a training: a test loads the state of another epoch."""
        self._known = state_dict

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the rows that belong to the run."""
        self._rows, self._row = self._read()[: self._known["rows"]], dict(self._known["row"])

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the metrics of validation."""
        if not trainer.sanity_checking:
            if self._row:
                self._write_or_warn(trainer)
            self._take(trainer, "val/")

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the epoch's row."""
        self._take(trainer, "train/")
        self._write_or_warn(trainer)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the test's row, and those that could not be written before.

        Raises:
            OSError: they cannot be written
        """
        self._row = {}
        self._take(trainer, "test/")
        self._write(trainer)

    def _take(self, trainer: Trainer, prefix: str) -> None:
        logged = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith(prefix)}
        place = {"epoch": str(trainer.current_epoch), "step": str(trainer.global_step)}
        self._row |= place | {name: repr(value) for name, value in logged.items()}

    def _write_or_warn(self, trainer: Trainer) -> None:
        try:
            self._write(trainer)
        except OSError as error:
            log.warning("%s cannot be written (%s); its rows are written with the next one", self.path, error.strerror)

    def _write(self, trainer: Trainer) -> None:
        self._rows.append(self._row)
        self._row = {}
        if trainer.is_global_zero:
            names = sorted({name for row in self._rows for name in row} - {"epoch", "step"}, key=_by_split)
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


def _by_split(name: str) -> tuple[int, str]:
    return ("train", "val", "test").index(name.partition("/")[0]), name
