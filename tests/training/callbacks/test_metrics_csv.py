"""Oracle: the lines expected from the metrics that a stand-in for the trainer logs."""

from __future__ import annotations

import csv
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from pytorch_lightning import LightningModule, Trainer

from cpnet.training.callbacks.metrics_csv import MetricsCSV

MODULE = LightningModule()


class Run:
    """State of a trainer, whose loops are simulated."""

    def __init__(self, path: Path, *, first: bool = True, resumed: dict[str, Any] | None = None) -> None:
        self.file = MetricsCSV(path)
        if resumed is not None:
            self.file.load_state_dict(resumed)
        self.state = SimpleNamespace(
            current_epoch=0, global_step=0, callback_metrics={}, sanity_checking=False, is_global_zero=first
        )
        self.trainer = cast(Trainer, self.state)

    def validate(self, value: float) -> None:
        self.state.callback_metrics["val/mIoU"] = torch.tensor(value, dtype=torch.float64)
        self.file.on_validation_end(self.trainer, MODULE)

    def epoch(self, number: int) -> dict[str, Any]:
        """Train and validate an epoch of ten steps; return the state for a checkpoint."""
        self.state.current_epoch, self.state.global_step = number, 10 * (number + 1)
        self.validate(number + 0.1)
        self.state.callback_metrics |= {"train/loss": torch.tensor(0.5), "train/skipped": torch.tensor(float(number))}
        self.file.on_train_epoch_end(self.trainer, MODULE)
        return self.file.state_dict()

    def test(self) -> None:
        self.state.current_epoch += 1
        self.state.callback_metrics = {"test/mIoU": torch.tensor(50.0)}
        self.file.on_test_end(self.trainer, MODULE)


HEADER = "epoch,step,train/loss,train/skipped,val/mIoU\n"
FIRST, SECOND = "0,10,0.5,0.0,0.1\n", "1,20,0.5,1.0,1.1\n"


def test_every_epoch_is_a_row(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    run = Run(path)
    run.epoch(0)
    assert path.read_text() == HEADER + FIRST
    run.epoch(1)
    assert path.read_text() == HEADER + FIRST + SECOND
    run.test()
    assert path.read_text() == (
        "epoch,step,test/mIoU,train/loss,train/skipped,val/mIoU\n0,10,,0.5,0.0,0.1\n1,20,,0.5,1.0,1.1\n2,20,50.0,,,\n"
    )
    assert list(tmp_path.iterdir()) == [path]


def test_resumed_run_removes_rows_after_its_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    run = Run(path)
    state = run.epoch(0)
    run.epoch(1)
    run.test()
    again = Run(path, resumed=state)
    again.epoch(1)
    assert path.read_text() == HEADER + FIRST + SECOND


def test_new_run_removes_all_rows(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("epoch,step,val/mIoU\n7,70,9.0\n")
    Run(path).epoch(0)
    assert path.read_text() == HEADER + FIRST


def test_resumed_run_keeps_validation_within_an_epoch(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    run = Run(path)
    run.state.global_step = 5
    run.validate(3.0)
    state = run.file.state_dict()
    run.epoch(0)
    Run(path, resumed=state).epoch(0)
    assert path.read_text() == HEADER + "0,5,,,3.0\n" + FIRST


def test_sanity_check_is_not_written(tmp_path: Path) -> None:
    run = Run(tmp_path / "metrics.csv")
    run.state.sanity_checking = True
    run.validate(3.0)
    run.state.sanity_checking = False
    run.epoch(0)
    assert (tmp_path / "metrics.csv").read_text() == HEADER + FIRST


def test_numbers_are_written_with_all_digits(tmp_path: Path) -> None:
    run = Run(tmp_path / "metrics.csv")
    run.validate(100 / 3)
    run.file.on_train_epoch_end(run.trainer, MODULE)
    (row,) = csv.DictReader((tmp_path / "metrics.csv").read_text().splitlines())
    assert float(row["val/mIoU"]) == 100 / 3


def test_only_first_process_writes(tmp_path: Path) -> None:
    run = Run(tmp_path / "metrics.csv", first=False)
    assert run.epoch(0) == {"rows": 1, "row": {}}  # equal to the first process's
    assert list(tmp_path.iterdir()) == []


def test_rows_are_kept_while_disk_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "metrics.csv"
    run = Run(path)
    run.epoch(0)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full)
        assert run.epoch(1) == {"rows": 2, "row": {}}
        assert "metrics.csv cannot be written (No space left on device)" in caplog.text
        assert path.read_text() == HEADER + FIRST
        with pytest.raises(OSError, match="No space left"):  # no later write would add them
            run.test()
        assert path.read_text() == HEADER + FIRST
        assert list(tmp_path.iterdir()) == [path]
    run.epoch(2)
    assert [row["epoch"] for row in csv.DictReader(path.read_text().splitlines())] == ["0", "1", "2", "2"]
