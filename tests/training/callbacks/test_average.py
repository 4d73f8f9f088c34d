"""Average of the weights. Oracle: the recurrence on floats; exact resume is part of ``smoke/test_resume.py``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint

from commands import TINY, call
from cpnet.data.datamodule import GroundingDataModule
from cpnet.training.callbacks.average import WeightAverage
from training.callbacks.short_runs import fit


class Moves(Callback):
    """Move a weight by one after every step, and record it in validation."""

    def __init__(self) -> None:
        self.trained, self.validated = list[float](), list[float]()

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        weight = next(pl_module.parameters())
        weight.data += 1
        self.trained.append(weight.flatten()[0].item())

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.validated.append(next(pl_module.parameters()).flatten()[0].item())

    def on_validation_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        self.validated.append(next(pl_module.parameters()).flatten()[0].item())


@pytest.mark.parametrize(("accumulate", "last"), [(1, [0, 1, 2, 3, 4, 5, 6]), (3, [2, 5, 6])])
def test_average_over_steps_is_validated_and_kept(
    accumulate: int, last: list[int], datamodule: GroundingDataModule, tmp_path: Path
) -> None:
    moves = Moves()
    keeps = ModelCheckpoint(tmp_path, filename="best", monitor="val/mIoU", mode="max")
    fit(datamodule, moves, WeightAverage(share=0.9), keeps, accumulate_grad_batches=accumulate)
    average, *weights = (moves.trained[batch] for batch in last)  # after the last batch of each step
    for step, weight in enumerate(weights, start=2):
        average += (weight - average) / max(1.0, 0.9 * step)
    *during, after = moves.validated
    assert during == pytest.approx([average] * len(during), rel=1e-6)
    assert after == moves.trained[-1]
    content = torch.load(tmp_path / "best.ckpt", weights_only=True)
    for key, expected in (("state_dict", average), ("current_model_state", after)):
        assert float(next(iter(content[key].values())).flatten()[0]) == pytest.approx(expected, rel=1e-6)


def test_checkpoints_without_the_average_are_refused(tmp_path: Path) -> None:
    averaged = (*TINY, "+callbacks.average._target_=cpnet.training.callbacks.average.WeightAverage")
    ended = call("train", *averaged, "+callbacks.checkpoint.save_weights_only=true", folder=tmp_path, code=1)
    assert "callbacks.average=null" in ended.err


@pytest.mark.parametrize("share", [0.0, 1.1, -0.1])
def test_share_outside_its_range_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="share must be above 0 and at most 1"):
        WeightAverage(share=share)
