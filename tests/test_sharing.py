"""Oracle: one process. Metrics of several processes equal it bit by bit, losses and weights up to rounding."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor
from torch.optim import SGD

from corpora import DIM, SPLITS, TEST, TRAIN, Table, ready, trainer, write_corpus
from cpnet.data.datamodule import GroundingDataModule
from cpnet.data.sampling import MeanPool
from cpnet.models import CPNet
from cpnet.options import CPNetOptions, LossOptions
from cpnet.training.callbacks.predictions import PredictionWriter
from cpnet.training.losses import GroundingLoss
from cpnet.training.module import GroundingModule
from ranks import in_ranks

pytestmark = pytest.mark.skipif(
    not torch.distributed.is_available(), reason="this torch was built without torch.distributed"
)
WORLD = 3


def several(devices: int, **changes: Any) -> Trainer:
    return trainer(strategy="ddp", devices=devices, use_distributed_sampler=False, **changes)


class Buffered(Table):
    """Has a buffer, which torch broadcasts at the first batch of a validation."""

    def __init__(self, table: Tensor) -> None:
        super().__init__(table)
        self.register_buffer("constant", torch.ones(1))


def table_module(*, rate: float = 0.0) -> GroundingModule:
    answers = torch.rand(len(TRAIN), 2, generator=torch.Generator().manual_seed(0))
    loss = GroundingLoss(LossOptions(attention_weight=2.0, regression_weight=3.0))
    return GroundingModule(model=Buffered(answers), loss=loss, optimizer=lambda weights: SGD(weights, lr=rate))


def measure(datamodule: GroundingDataModule, path: Path, make: Callable[..., Trainer]) -> dict[str, float]:
    """Train at a rate of 0, validate and test; return the metrics of this process."""
    module = table_module()
    module.missed = 2
    run = make(max_epochs=1)
    run.fit(module, datamodule=datamodule)
    found = {key: float(value) for key, value in run.callback_metrics.items() if key.startswith("val/")}
    run = make(callbacks=[PredictionWriter(path, datamodule.dataset("test").moments)])
    run.test(module, datamodule=datamodule, verbose=False)
    return found | {key: float(value) for key, value in run.callback_metrics.items()}


def exact(measured: dict[str, float]) -> dict[str, float]:
    """Return the metrics whose sums are exact, without the means of losses and other scalars."""
    return {name: value for name, value in measured.items() if re.search(r"mIoU|R1@", name)}


@pytest.mark.slow
def test_several_processes_measure_the_same_as_one(tmp_path: Path) -> None:
    # three batches, one batch, and one pair: even and uneven shares, and processes without pairs
    corpora = {}
    for pairs, train in ((7, 20), (2, 2), (1, 1)):
        folder = tmp_path / str(pairs)
        folder.mkdir()
        splits = {"train": TRAIN[:train], "val": TEST[:pairs], "test": TEST[:pairs]}
        corpora[pairs] = ready(write_corpus(folder, splits) | {"ground_truth": "clipped"})

    def work(name: str, make: Callable[..., Trainer]) -> list[dict[str, float]]:
        return [measure(corpora[pairs], tmp_path / str(pairs) / name, make) for pairs in corpora]

    alone = work("one", trainer)
    for world in (2, WORLD):
        for found in in_ranks(world, partial(work, "several", partial(several, world))):
            for measured, expected in zip(found, alone, strict=True):
                assert exact(measured) == exact(expected)
                assert measured == pytest.approx(expected, rel=1e-12)
        for pairs in corpora:
            folder = tmp_path / str(pairs)
            assert (folder / "one").read_bytes().count(b"\n") == pairs
            assert (folder / "one").read_bytes() == (folder / "several").read_bytes()
            (folder / "several").unlink()


def network(datamodule: GroundingDataModule) -> GroundingModule:
    torch.manual_seed(0)
    options = CPNetOptions(hidden_dim=16, dropout=0.0, pyramid_levels=2)
    model = CPNet(DIM, datamodule.vocabulary.vectors, options)
    return GroundingModule(model=model, loss=GroundingLoss(), optimizer=lambda weights: SGD(weights, lr=1.0))


def stepped(arguments: dict[str, Any], batch_size: int, run: Trainer) -> dict[str, Tensor]:
    """Return the weights after one step at a rate of 1, which subtracts the gradients."""
    datamodule = ready(arguments | {"batch_size": batch_size, "sampling": MeanPool(clips=8)})
    module: LightningModule = network(datamodule)
    run.fit(module, datamodule=datamodule)
    assert run.global_step == 1
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


ONE_STEP = {"max_steps": 1, "limit_val_batches": 0}


def test_step_does_not_depend_on_the_distribution_of_pairs(tmp_path: Path) -> None:
    arguments = write_corpus(tmp_path, SPLITS)
    whole = stepped(arguments, 8, trainer(**ONE_STEP))
    start = network(ready(arguments)).state_dict()
    assert max((whole[name] - start[name]).abs().max() for name in whole) > 1e-3
    shared = in_ranks(2, lambda: stepped(arguments, 4, several(2, **ONE_STEP)))
    added_up = stepped(arguments, 4, trainer(accumulate_grad_batches=2, **ONE_STEP))
    for other in (*shared, added_up):
        assert other.keys() == whole.keys()
        for name, weights in whole.items():
            torch.testing.assert_close(other[name], weights, rtol=0, atol=1e-6)
