"""State that a resumed run restores beside Lightning's. Oracle: the uninterrupted sequence of each generator."""

from __future__ import annotations

import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint

from cpnet.data.datamodule import GroundingDataModule
from cpnet.training.callbacks.resume import ExactResume, random_state, restore_random_state
from training.callbacks.short_runs import fit, module_of


def loaded(states: list[dict[str, Any]], **changes: Any) -> ExactResume:
    """Return a callback that has loaded the random states of some processes."""
    content = {
        "loops": {"fit_loop": {"state_dict": {}}},
        "processes": [{"random": state, "means": {}} for state in states],
        "cpnet": module_of().provenance,
        "should_stop": False,
        "plan": {"groups": [{}], "steps_per_epoch": 7},
    }
    callback, run = ExactResume(), SimpleNamespace(checkpoint_callbacks=[], early_stopping_callbacks=[])
    callback.on_load_checkpoint(cast(Trainer, run), module_of(), content | changes)
    return callback


def test_other_number_of_processes_is_warned_about(
    datamodule: GroundingDataModule, caplog: pytest.LogCaptureFixture
) -> None:
    fit(datamodule, loaded([random_state()] * 2))
    assert "were (2, None) and are now (1, None): the resumed run is not bit-identical" in caplog.text


@pytest.mark.parametrize(("step", "score"), [(2, 7.0), (5, 7.0), (6, 9.0)])
def test_score_is_that_of_the_best_checkpoint_if_this_is_newer(step: int, score: float, tmp_path: Path) -> None:
    best = ModelCheckpoint(dirpath=tmp_path, filename="best", monitor="val/mIoU")

    def state(mean: float) -> dict[str, Any]:
        path = "/before/best.ckpt"
        places = {"dirpath": "/before", "best_model_path": path, "kth_best_model_path": path, "last_model_path": ""}
        return {**places, "best_k_models": {path: torch.tensor(mean)}, "best_model_score": torch.tensor(mean)}

    written = {"cpnet": module_of().provenance | {"format": 1, "config": {}, "vocabulary": {}}, "state_dict": {}}
    steps = {"epoch": 0, "global_step": step, "callbacks": {best.state_key: state(9.0)}}
    torch.save(written | steps, tmp_path / "best.ckpt")
    run = SimpleNamespace(checkpoint_callbacks=[best], early_stopping_callbacks=[])
    last: dict[str, Any] = {"global_step": 5, "callbacks": {best.state_key: state(7.0)}}
    ExactResume().on_load_checkpoint(cast(Trainer, run), module_of(), last)
    found = last["callbacks"][best.state_key]
    path = str(tmp_path / "best.ckpt")
    assert (found["best_model_path"], found["best_k_models"]) == (path, {path: torch.tensor(score)})


def test_random_state_is_restored_before_the_first_batch(datamodule: GroundingDataModule) -> None:
    torch.manual_seed(1)
    state, expected = random_state(), float(torch.rand(()))
    drawn: list[float] = []

    class Draws(Callback):
        def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
            torch.rand(3)

        def on_train_batch_end(self, *_: Any) -> None:
            drawn.append(float(torch.rand(())))

    fit(datamodule, loaded([state]), Draws())
    assert drawn[0] == expected
    assert len(set(drawn)) == 7  # restored once


def draw() -> list[float]:
    return [
        *(random.random(), random.gauss(0, 1)),
        *(float(np.random.rand()), float(np.random.randn())),
        *(float(torch.rand(())), float(torch.randn(()))),
    ]


def test_every_generator_continues_from_its_state(tmp_path: Path) -> None:
    random.seed(1), np.random.seed(2), torch.manual_seed(3)
    draw()  # each generator now caches the second of a pair of normal numbers
    torch.save(random_state(), tmp_path / "state")
    expected = [draw() for _ in range(400)]  # more than the words of a state
    random.seed(4), np.random.seed(5), torch.manual_seed(6)
    assert draw() != expected[0]
    restore_random_state(torch.load(tmp_path / "state", weights_only=True))
    assert [draw() for _ in range(400)] == expected


def test_states_of_absent_gpus_are_ignored() -> None:
    torch.manual_seed(3)
    state = random_state()
    first = draw()[-2:]
    gpus = torch.cuda.device_count()
    restore_random_state(state | {"cuda": [*state["cuda"][:gpus], *[torch.zeros(16, dtype=torch.uint8)] * 2]})
    assert draw()[-2:] == first
