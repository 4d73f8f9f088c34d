"""Overrides of a resumed run are applied from its first step on. Oracle: the values in the objects that train."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Trainer

from commands import TINY, call
from cpnet.models.layers.dropout import Dropout
from cpnet.training.module import GroundingModule
from interrupts import signalled

RATE, PER_EPOCH, DONE = 4e-4, 6, 12  # 42 pairs in batches of 8; two of four epochs are done
RUN = (
    *(each for each in TINY if each != "trainer=debug"),
    *("trainer=cpu", "trainer.compile=false", "epochs=4", "scheduler=cosine", "scheduler.warmup=0"),
)


class FirstStepError(Exception):
    """Ends a resumed run at its first step."""


@pytest.fixture(scope="module")
def resumed(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Trainer]:
    """Interrupt a run after two of four epochs; return a function that resumes it up to its next step."""
    place = tmp_path_factory.mktemp("overrides")
    with signalled("on_train_epoch_end", 1):
        call("train", *RUN, "hydra.run.dir=run", folder=place, code=143)

    @cache
    def resume(*overrides: str) -> Trainer:
        trainers: list[Trainer] = []

        def step(module: GroundingModule, *_: Any) -> None:
            trainers.append(module.trainer)
            raise FirstStepError

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(GroundingModule, "training_step", step)
            with pytest.raises(FirstStepError):
                call("train", "resume_from=run", *overrides, folder=place)
        return trainers[0]

    return resume


def group(trainer: Trainer) -> dict[str, Any]:
    return trainer.optimizers[0].param_groups[0]


def callback(name: str, trainer: Trainer) -> Any:
    return next(each for each in trainer.callbacks if type(each).__name__ == name)  # type: ignore[attr-defined]


APPLIED: dict[str, Callable[[Any], bool]] = {  # all in one resumed run
    "optimizer.weight_decay=0.5": lambda run: group(run)["weight_decay"] == 0.5,
    "optimizer.betas=[0.5,0.6]": lambda run: group(run)["betas"] == (0.5, 0.6),
    "+optimizer.eps=0.001": lambda run: group(run)["eps"] == 0.001,
    "optimizer.fused=false": lambda run: group(run)["fused"] is False,
    "trainer.effective_batch_size=16": lambda run: run.accumulate_grad_batches == 2,
    "trainer.gradient_clip_val=0.25": lambda run: run.gradient_clip_val == 0.25,
    "trainer.precision=bf16-mixed": lambda run: run.precision == "bf16-mixed",
    "trainer.check_val_every_n_epoch=2": lambda run: run.check_val_every_n_epoch == 2,
    "trainer.limit_train_batches=3": lambda run: run.num_training_batches == 3,
    "callbacks.early_stopping.patience=50": lambda run: callback("EarlyStopping", run).patience == 50,
    "+callbacks.early_stopping.min_delta=0.5": lambda run: callback("EarlyStopping", run).min_delta == 0.5,
    "callbacks.recovery.every_n_steps=3": lambda run: callback("Recovery", run).every_n_steps == 3,
    "callbacks.non_finite.limit=2": lambda run: callback("NonFinite", run).limit == 2,
    "loss.attention_weight=3": lambda run: run.lightning_module.loss.options.attention_weight == 3,
    "model.dropout=0.25": lambda run: (
        {each.p for each in run.lightning_module.modules() if isinstance(each, Dropout)} == {0.25}
    ),
    "metrics.thresholds=[0.9]": lambda run: "R1@0.9" in run.lightning_module.metrics["val"].names,
}


@pytest.mark.parametrize("override", APPLIED)
def test_override_is_applied(override: str, resumed: Callable[..., Trainer]) -> None:
    assert APPLIED[override](resumed(*APPLIED))


@pytest.mark.parametrize(
    ("overrides", "rate", "share", "found"),
    [
        ((), RATE, 0.5, (4, 8, ["val/mIoU"])),
        (("optimizer.lr=1e-6",), 1e-6, 0.5, (4, 8, ["val/mIoU"])),
        (("scheduler.warmup=0.75",), RATE * (DONE + 1) / (0.75 * 4 * PER_EPOCH), 0.5, (4, 8, ["val/mIoU"])),
        (("epochs=8", "callbacks.early_stopping.monitor=val/loss"), RATE, 0.25, (8, 8, ["val/loss"])),
        (("batch_size=4", "callbacks.early_stopping=null"), RATE, 0.5, (4, 4, [])),
    ],
)
def test_schedule_continues_with_the_changed_values(
    overrides: tuple[str, ...], rate: float, share: float, found: tuple[Any, ...], resumed: Callable[..., Trainer]
) -> None:
    run: Any = resumed(*overrides)
    assert group(run)["lr"] == pytest.approx(rate * (1 + math.cos(math.pi * share)) / 2)
    monitors = [each.monitor for each in run.early_stopping_callbacks]
    assert (run.max_epochs, run.train_dataloader.batch_size, monitors) == found


@pytest.mark.parametrize(
    ("before", "after", "position"),
    [
        ("trainer.devices=1", "batch_size=4", 2 * 11),  # the loader skips 3 batches of the 11 of the last epoch
        ("trainer.devices=1", "trainer.accumulate_grad_batches=2", 2 * 3),
        ("+trainer.max_steps=10", "++trainer.max_steps=12", 12),
    ],
)
def test_one_cycle_ends_with_the_last_step_of_an_interrupted_epoch(
    before: str, after: str, position: int, tmp_path: Path
) -> None:
    with signalled("training_step", PER_EPOCH + 2):
        run = (*RUN, "scheduler=one_cycle", "epochs=2", before, "hydra.run.dir=run")
        call("train", *run, folder=tmp_path, code=143)
    call("train", "resume_from=run", after, folder=tmp_path)
    last = torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)
    assert last["lr_schedulers"][0]["last_epoch"] == position
