"""When last.ckpt is written, by a training of seven batches an epoch."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import EarlyStopping
from torch.optim import SGD

from corpora import TRAIN, Table, ready, trainer, write_corpus
from cpnet.checkpoint import CheckpointFiles
from cpnet.data.datamodule import GroundingDataModule
from cpnet.interruption import Interrupted, Signals
from cpnet.losses import GroundingLoss
from cpnet.module import GroundingModule
from cpnet.recovery import Recovery, saving, seconds_before
from cpnet.recovery.randomness import random_state


class Watched(Recovery):
    """Keeps the steps after which it was asked for a file."""

    def save(self, trainer: Trainer, checkpoint: dict[str, Any] | None = None) -> None:
        self.saved = [*getattr(self, "saved", []), trainer.global_step]
        super().save(trainer, checkpoint)


@pytest.fixture(scope="module")
def datamodule(tmp_path_factory: pytest.TempPathFactory) -> GroundingDataModule:
    return ready(write_corpus(tmp_path_factory.mktemp("corpus")))


def module_of(**config: Any) -> GroundingModule:
    return GroundingModule(
        model=Table(torch.rand(len(TRAIN), 2)),
        loss=GroundingLoss(),
        optimizer=lambda parameters: SGD(parameters, lr=0.0),
        provenance={"format": 2, "config": config, "vocabulary": {}},
    )


def fit(datamodule: GroundingDataModule, recovery: Recovery, *others: Callback, **settings: Any) -> None:
    options = {"max_epochs": 1, "enable_checkpointing": True} | settings
    run = trainer(callbacks=[*others, recovery], plugins=[CheckpointFiles()], **options)
    run.fit(module_of(), datamodule=datamodule)


def load(recovery: Recovery, states: list[dict[str, Any]]) -> None:
    """Have it go on with the random numbers of some processes."""
    loops: dict[str, Any] = {"fit_loop": {"state_dict": {}}}
    processes = [{"random": state, "means": {}} for state in states]
    run: Any = SimpleNamespace(checkpoint_callbacks=[])
    module = module_of()
    recovery.on_load_checkpoint(run, module, {"loops": loops, "processes": processes, "cpnet": module.provenance})


def steps(folder: Path) -> dict[str, int]:
    """The step of each file."""
    return {path.stem: torch.load(path, weights_only=True)["global_step"] for path in folder.iterdir()}


@pytest.mark.parametrize(
    ("every", "epochs", "settings", "saved"),
    [
        (0, 2, {}, [7, 14]),
        (2, 2, {}, [2, 4, 6, 7, 9, 11, 13, 14]),
        (5, 2, {}, [5, 7, 12, 14]),
        (2, 1, {"accumulate_grad_batches": 3}, [2, 3]),
        # Lightning would leave out the validation in a run that goes on from behind its batch: a batch later, then.
        (3, 1, {"val_check_interval": 3}, [4, 7]),
    ],
)
def test_every_some_steps_and_after_every_epoch(
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


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """What the time is, in seconds."""
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(saving, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


class Slow(Callback):
    """Half a minute a batch."""

    def __init__(self, clock: SimpleNamespace) -> None:
        self.clock = clock

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self.clock.now += 30


def test_every_some_minutes(datamodule: GroundingDataModule, tmp_path: Path, clock: SimpleNamespace) -> None:
    recovery = Watched(tmp_path, every_n_minutes=1.5)
    fit(datamodule, recovery, Slow(clock), max_epochs=2)
    assert recovery.saved == [3, 6, 7, 10, 13, 14]
    recovery = Watched(tmp_path, every_n_minutes=1.5, every_n_steps=2)
    fit(datamodule, recovery, Slow(clock))
    assert recovery.saved == [2, 4, 6, 7]


def test_a_run_knows_how_long_it_had_taken(
    datamodule: GroundingDataModule, tmp_path: Path, clock: SimpleNamespace
) -> None:
    taken: list[float] = []
    for last in (None, tmp_path / "last.ckpt", tmp_path / "last.ckpt"):
        clock.now += 10_000  # in which nothing ran
        recovery = Recovery(tmp_path)
        options: dict[str, Any] = {"max_epochs": len(taken) + 1, "enable_checkpointing": True}
        run = trainer(callbacks=[Slow(clock), recovery], plugins=[CheckpointFiles()], **options)
        run.fit(module_of(), datamodule=datamodule, ckpt_path=last, weights_only=True)
        taken.append(seconds_before(run))
    assert taken == [0, 7 * 30, 14 * 30]


@pytest.mark.parametrize("wrong", [{"every_n_steps": -1}, {"every_n_minutes": -0.5}])
def test_a_negative_number_is_refused(wrong: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"every_n_steps and every_n_minutes must be 0 or more; got .*-"):
        Recovery(tmp_path, **wrong)


def test_a_file_that_cannot_be_written_costs_no_step(
    datamodule: GroundingDataModule, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    recovery = Watched(tmp_path / "file/checkpoints", every_n_steps=3)
    fit(datamodule, recovery)
    assert recovery.saved == [3, 6, 7]
    said = [record.getMessage() for record in caplog.records if "cannot be written" in record.getMessage()]
    assert len(said) == 3
    assert all("next.ckpt" in each and "the run goes on without" in each for each in said)


class Signal(Callback):
    """Has a signal received at a batch."""

    def __init__(self, signals: Signals, batch: int) -> None:
        self.signals, self.batch = signals, batch

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if batch_idx == self.batch:
            self.signals.received = 15


@pytest.mark.parametrize(
    ("batch", "settings", "step"),
    [(0, {}, 1), (4, {}, 5), (6, {}, 7), (4, {"accumulate_grad_batches": 3}, 2), (2, {"val_check_interval": 3}, 3)],
)
def test_a_signal_ends_the_run_behind_its_step(
    batch: int, settings: dict[str, Any], step: int, datamodule: GroundingDataModule, tmp_path: Path
) -> None:
    signals = Signals()
    with pytest.raises(Interrupted) as caught:
        fit(datamodule, Recovery(tmp_path, signals=signals), Signal(signals, batch), **settings)
    assert (caught.value.code, caught.value.agreed) == (143, True)
    assert steps(tmp_path) == {"last": step}


def test_another_number_of_processes_is_said(
    datamodule: GroundingDataModule, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recovery = Recovery(tmp_path)
    load(recovery, [random_state()] * 2)
    fit(datamodule, recovery)
    assert "the checkpoint is of 2 processes, this run has 1: it goes on, but not bit for bit" in caplog.text


STOPPING = {"early_stopping": {"patience": 3}}


@pytest.mark.parametrize(
    ("stopped", "waited", "now", "stays"),
    [
        (True, 1, STOPPING, True),  # by something else than patience
        (False, 1, STOPPING, False),
        (True, 3, {"early_stopping": {"patience": 5}}, False),  # more patience lets it go on
        (True, 5, {"early_stopping": {"patience": 5}}, True),
        (None, 3, STOPPING, True),  # a checkpoint of before it was said
        (None, 2, STOPPING, False),
    ],
)
def test_a_training_that_had_stopped_early_stays_so(
    stopped: bool | None, waited: int, now: dict[str, Any], stays: bool, tmp_path: Path
) -> None:
    early = EarlyStopping("val/mIoU", patience=now["early_stopping"]["patience"])
    early.wait_count = waited
    run: Any = SimpleNamespace(
        checkpoint_callbacks=[], callbacks=[early], world_size=1, global_rank=0, global_step=7, should_stop=False
    )
    content = {
        "loops": {"fit_loop": {"state_dict": {}}},
        "processes": [{"random": random_state(), "means": {}}],
        "cpnet": {"config": {"callbacks": STOPPING}},
        **({} if stopped is None else {"should_stop": stopped}),
    }
    recovery, module = Recovery(tmp_path), module_of(callbacks=now)
    recovery.on_load_checkpoint(run, module, content)
    recovery.on_train_start(run, module)
    assert run.should_stop == stays


def test_patience_of_nothing_lets_a_run_begin(datamodule: GroundingDataModule, tmp_path: Path) -> None:
    recovery = Watched(tmp_path)
    fit(datamodule, recovery, EarlyStopping("val/mIoU", mode="max", patience=0), max_epochs=2, min_epochs=0)
    assert recovery.saved[0] == 7


def test_random_numbers_go_on_with_the_first_batch(datamodule: GroundingDataModule, tmp_path: Path) -> None:
    torch.manual_seed(1)
    state, expected = random_state(), float(torch.rand(()))
    drawn: list[float] = []

    class Draws(Callback):
        def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
            torch.rand(3)

        def on_train_batch_end(
            self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
        ) -> None:
            drawn.append(float(torch.rand(())))

    recovery = Recovery(tmp_path)
    load(recovery, [state])
    fit(datamodule, recovery, Draws())
    assert drawn[0] == expected
    assert len(set(drawn)) == 7  # set once


def test_random_numbers_that_wait_are_those_that_are_kept(datamodule: GroundingDataModule, tmp_path: Path) -> None:
    torch.manual_seed(1)
    state = random_state()
    torch.rand(5)
    recovery = Recovery(tmp_path)
    load(recovery, [state])

    class SavesFirst(Callback):
        def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
            recovery.save(trainer)

    fit(datamodule, recovery, SavesFirst())
    kept = torch.load(tmp_path / "previous.ckpt", weights_only=True)["processes"][0]["random"]
    assert torch.equal(kept["torch"], state["torch"])
