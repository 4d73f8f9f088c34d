"""When last.ckpt is written, in a training run of seven batches per epoch."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from cpnet.data.datamodule import GroundingDataModule
from cpnet.launch.signals import Interrupted, Signals
from cpnet.training.callbacks import recovery
from cpnet.training.callbacks.recovery import Recovery
from training.callbacks.short_runs import fit


class Watched(Recovery):
    """Records the steps at which it saves."""

    def save(self, trainer: Trainer) -> None:
        self.saved = [*getattr(self, "saved", []), trainer.global_step]
        super().save(trainer)


def steps(folder: Path) -> dict[str, int]:
    """Return the step of each checkpoint."""
    return {path.stem: torch.load(path, weights_only=True)["global_step"] for path in folder.iterdir()}


@pytest.mark.parametrize(
    ("every", "epochs", "settings", "saved"),
    [
        (0, 2, {}, [7, 14]),
        (2, 2, {}, [2, 4, 6, 7, 9, 11, 13, 14]),
        (5, 2, {}, [5, 7, 12, 14]),
        (2, 1, {"accumulate_grad_batches": 3}, [2, 3]),
        # Not at step 3: resuming from there, Lightning would skip the validation.
        (3, 1, {"val_check_interval": 3}, [4, 7]),
    ],
)
def test_checkpoint_is_written_every_n_steps_and_after_every_epoch(
    every: int,
    epochs: int,
    settings: dict[str, Any],
    saved: list[int],
    datamodule: GroundingDataModule,
    tmp_path: Path,
) -> None:
    recovery = Watched(tmp_path, every_n_steps=every)
    fit(datamodule, recovery, max_epochs=epochs, **settings)
    assert recovery.saved == saved
    assert steps(tmp_path) == {"last": saved[-1], "previous": saved[-2]}


class HalfMinuteBatches(Callback):
    """Advances a clock by 30 seconds per batch."""

    def __init__(self, clock: SimpleNamespace) -> None:
        self.clock = clock

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self.clock.now += 30


def test_checkpoint_is_written_every_n_minutes(
    datamodule: GroundingDataModule, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(recovery, "time", SimpleNamespace(monotonic=lambda: clock.now))
    watched = Watched(tmp_path, every_n_minutes=1.5)
    fit(datamodule, HalfMinuteBatches(clock), watched, max_epochs=2)
    assert watched.saved == [3, 6, 7, 10, 13, 14]
    watched = Watched(tmp_path, every_n_minutes=1.5, every_n_steps=2)
    fit(datamodule, HalfMinuteBatches(clock), watched)
    assert watched.saved == [2, 4, 6, 7]


@pytest.mark.parametrize("wrong", [{"every_n_steps": -1}, {"every_n_minutes": -0.5}])
def test_negative_interval_is_refused(wrong: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"every_n_steps and every_n_minutes must be 0 or more; got .*-"):
        Recovery(tmp_path, **wrong)


def test_training_continues_if_checkpoint_cannot_be_written(
    datamodule: GroundingDataModule, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    watched = Watched(tmp_path / "file/checkpoints", every_n_steps=3)
    fit(datamodule, watched)
    assert watched.saved == [3, 6, 7]
    warnings = [record.getMessage() for record in caplog.records if "cannot be written" in record.getMessage()]
    assert len(warnings) == 3
    assert all("next.ckpt" in each and "training continues without this checkpoint" in each for each in warnings)


class ReceiveSignal(Callback):
    """Receives SIGTERM at a batch."""

    def __init__(self, signals: Signals, batch: int) -> None:
        self.signals, self.batch = signals, batch

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if batch_idx == self.batch:
            self.signals.received = 15


@pytest.mark.parametrize(
    ("batch", "settings", "step"),
    [(0, {}, 1), (4, {}, 5), (6, {}, 7), (4, {"accumulate_grad_batches": 3}, 2), (2, {"val_check_interval": 3}, 4)],
)
def test_signal_ends_the_run_after_the_current_step(
    batch: int, settings: dict[str, Any], step: int, datamodule: GroundingDataModule, tmp_path: Path
) -> None:
    signals = Signals()
    with pytest.raises(Interrupted) as caught:
        fit(datamodule, ReceiveSignal(signals, batch), Recovery(tmp_path, signals=signals), **settings)
    assert (caught.value.code, caught.value.agreed) == (143, True)
    assert steps(tmp_path) == {"last": step}
