"""Every override of a resumed run is applied or refused. Oracle: the values in the objects that train."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import EarlyStopping

from commands import TINY, Ended, call
from cpnet.models.layers.dropout import Dropout
from cpnet.training.callbacks.non_finite import NonFinite
from cpnet.training.callbacks.recovery import Recovery
from cpnet.training.module import GroundingModule
from smoke.test_resume import signalled
from soak import outcome

RATE, PER_EPOCH, DONE = 4e-4, 6, 12  # 42 pairs in batches of 8; two of four epochs are done
RUN = (
    *(each for each in TINY if each != "trainer=debug"),
    *("trainer=cpu", "trainer.compile=false", "epochs=4", "scheduler=cosine", "scheduler.warmup=0"),
)


class FirstStepError(Exception):
    """Ends a resumed run at its first step."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a run that a signal interrupted after two of four epochs."""
    place = tmp_path_factory.mktemp("overrides")
    with signalled("on_train_epoch_end", 1):
        assert call("train", *RUN, "hydra.run.dir=run", folder=place).code == 143
    return place


def resume(place: Path, *overrides: str) -> Ended:
    return call("train", "resume_from=run", *overrides, folder=place)


@pytest.fixture(scope="module")
def resumed(place: Path) -> Callable[..., Trainer]:
    """Return a function that resumes the run up to its first step, once for each set of overrides."""

    @cache
    def trainer(*overrides: str) -> Trainer:
        trainers: list[Trainer] = []

        def step(module: GroundingModule, *_: Any) -> None:
            trainers.append(module.trainer)
            raise FirstStepError

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(GroundingModule, "training_step", step)
            with pytest.raises(FirstStepError):
                resume(place, *overrides)
        return trainers[0]

    return trainer


def option(key: str) -> Callable[[Trainer], Any]:
    return lambda trainer: trainer.optimizers[0].param_groups[0][key]


def of(kind: type[Any], key: str) -> Callable[[Trainer], Any]:
    return lambda trainer: getattr(next(each for each in trainer.callbacks if isinstance(each, kind)), key)  # type: ignore[attr-defined]


def dropouts(trainer: Trainer) -> set[float]:
    return {each.p for each in trainer.lightning_module.modules() if isinstance(each, Dropout)}


def weights(trainer: Trainer) -> Any:
    return trainer.lightning_module.loss.options  # type: ignore[union-attr]


def metrics(trainer: Trainer) -> Any:
    return trainer.lightning_module.metrics["val"]  # type: ignore[index]


def cosine(rate: float, share: float) -> Any:
    return pytest.approx(rate * (1 + math.cos(math.pi * share)) / 2)


APPLIED: list[tuple[str, Callable[[Trainer], Any], Any]] = [  # at once
    ("optimizer.weight_decay=0.5", option("weight_decay"), 0.5),
    ("optimizer.betas=[0.5,0.6]", option("betas"), (0.5, 0.6)),
    ("+optimizer.eps=0.001", option("eps"), 0.001),
    ("optimizer.fused=false", option("fused"), False),
    ("trainer.effective_batch_size=16", lambda trainer: trainer.accumulate_grad_batches, 2),
    ("trainer.gradient_clip_val=0.25", lambda trainer: trainer.gradient_clip_val, 0.25),
    ("trainer.precision=bf16-mixed", lambda trainer: trainer.precision, "bf16-mixed"),
    ("trainer.check_val_every_n_epoch=2", lambda trainer: trainer.check_val_every_n_epoch, 2),
    ("trainer.limit_train_batches=3", lambda trainer: trainer.num_training_batches, 3),
    ("callbacks.early_stopping.patience=50", of(EarlyStopping, "patience"), 50),
    ("+callbacks.early_stopping.min_delta=0.5", of(EarlyStopping, "min_delta"), 0.5),
    ("callbacks.recovery.every_n_steps=3", of(Recovery, "every_n_steps"), 3),
    ("callbacks.non_finite.limit=2", of(NonFinite, "limit"), 2),
    ("loss.attention_weight=3", lambda trainer: weights(trainer).attention_weight, 3),
    ("model.dropout=0.25", dropouts, {0.25}),
    ("metrics.thresholds=[0.9]", lambda trainer: "val/R1@0.9" in metrics(trainer).keys(), True),  # noqa: SIM118
]


@pytest.mark.parametrize(("override", "found", "expected"), APPLIED)
def test_override_is_applied(
    override: str, found: Callable[[Trainer], Any], expected: Any, resumed: Callable[..., Trainer]
) -> None:
    assert found(resumed(*(each for each, *_ in APPLIED))) == expected


@pytest.mark.parametrize(
    ("overrides", "rate"),
    [
        ((), cosine(RATE, 0.5)),
        (("optimizer.lr=1e-6",), cosine(1e-6, 0.5)),
        (("scheduler.warmup=0.75",), cosine(RATE * (DONE + 1) / (0.75 * 4 * PER_EPOCH), 0.5)),
        (("epochs=8", "callbacks.early_stopping.monitor=val/loss"), cosine(RATE, DONE / (8 * PER_EPOCH))),
        (("batch_size=4", "callbacks.early_stopping=null"), cosine(RATE, 0.5)),  # the same share of the run
    ],
)
def test_schedule_continues_with_the_changed_values(
    overrides: tuple[str, ...], rate: Any, resumed: Callable[..., Trainer]
) -> None:
    trainer = resumed(*overrides)
    assert option("lr")(trainer) == rate
    assert trainer.max_epochs == (8 if "epochs=8" in overrides else 4)
    assert trainer.train_dataloader.batch_size == (4 if "batch_size=4" in overrides else 8)  # type: ignore[union-attr]
    monitors = [each.monitor for each in trainer.early_stopping_callbacks if isinstance(each, EarlyStopping)]
    assert monitors == ([] if "batch_size=4" in overrides else ["val/loss" if "epochs=8" in overrides else "val/mIoU"])


@pytest.mark.parametrize("override", ["seed=1", "optimizer._target_=torch.optim.Adam", "epochs=1"])
def test_override_is_refused_before_anything_is_written(override: str, place: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (place / "run").rglob("*") if path.name != "train.log"}
    ended = resume(place, override)
    assert (ended.code, override.split("=")[0] in ended.err) == (1, True), ended.err
    assert "init_from=" in ended.err or "set epochs=2 or more" in ended.err
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_stopped_run_resumes_with_more_patience_only(tmp_path: Path) -> None:
    stopping = ("callbacks.early_stopping.patience=1", "+callbacks.early_stopping.min_delta=100")
    assert call("train", *RUN, *stopping, "hydra.run.dir=run", folder=tmp_path).code == 0

    def epochs() -> int:
        return (tmp_path / "run/metrics.csv").read_text(encoding="utf-8").count("\n") - 2  # names and test

    before = outcome(tmp_path / "run")
    assert epochs() == 2
    ended = resume(tmp_path, "callbacks.recovery.every_n_steps=3", "epochs=5")
    assert "the run stopped early and stays so; callbacks.early_stopping=null or more patience" in ended.err + ended.out
    assert outcome(tmp_path / "run")["metrics.csv"] == before["metrics.csv"]
    assert resume(tmp_path, "callbacks.early_stopping.patience=50").code == 0
    assert epochs() == 4
