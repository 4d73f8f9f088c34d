"""Oracle: a training loop in plain torch that leaves out the batches whose loss is not finite."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from pytorch_lightning import Trainer
from torch import Tensor
from torch.optim import Adam

from corpora import TRAIN, Table, trainer
from cpnet.batch import GroundingBatch, GroundingOutput
from cpnet.data.datamodule import GroundingDataModule
from cpnet.errors import DataError
from cpnet.training.callbacks.non_finite import NonFinite
from cpnet.training.checkpoint_io import CheckpointFiles
from cpnet.training.losses import GroundingLoss
from cpnet.training.module import GroundingModule

RATE = 0.1


@dataclass(frozen=True, kw_only=True)
class Loss(GroundingLoss):
    """Returns NaN at the calls with the given numbers, counted from 0."""

    bad: Collection[int]
    calls: Iterator[int] = field(default_factory=itertools.count)

    def __call__(self, output: GroundingOutput, batch: GroundingBatch) -> dict[str, Tensor]:
        terms = super().__call__(output, batch)
        return {name: value * float("nan") for name, value in terms.items()} if next(self.calls) in self.bad else terms


def table() -> Table:
    return Table(torch.rand(len(TRAIN), 2, generator=torch.Generator().manual_seed(0)))


def plain_training(datamodule: GroundingDataModule, bad: Collection[int], *, batches: int = 7) -> tuple[Table, Adam]:
    model = table()
    adam, loss = Adam(model.parameters(), lr=RATE), GroundingLoss()
    for number, batch in enumerate(datamodule.train_dataloader()):
        if number < batches and number not in bad:
            adam.zero_grad()
            loss(model(batch.per_pair()), batch)["loss"].backward()  # type: ignore[no-untyped-call]
            adam.step()
    return model, adam


def fit(datamodule: GroundingDataModule, bad: Collection[int], limit: int, **settings: Any) -> tuple[Trainer, Any]:
    module = GroundingModule(
        model=table(),
        loss=Loss(bad=bad),
        optimizer=lambda parameters: Adam(parameters, lr=RATE),
        provenance={"format": 1, "config": {}, "vocabulary": {}},
    )
    settings |= {"callbacks": [NonFinite(limit=limit)], "plugins": [CheckpointFiles()]}
    run = trainer(max_epochs=1, limit_val_batches=0, **settings)
    run.fit(module, datamodule=datamodule)
    return run, module


@pytest.mark.parametrize(("bad", "limit"), [((), 1), ((3,), 2), ((0,), 2), ((0, 2, 4, 6), 2), ((1, 2, 5, 6), 3)])
def test_skipped_step_changes_nothing(
    bad: tuple[int, ...], limit: int, datamodule: GroundingDataModule, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        run, module = fit(datamodule, bad, limit)
    model, adam = plain_training(datamodule, bad)
    assert torch.equal(module.model.table, model.table)
    (found,), (expected,) = run.optimizers[0].state.values(), adam.state.values()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert float(run.callback_metrics["train/skipped"]) == len(bad)
    said = [record.getMessage() for record in caplog.records if "step skipped" in record.getMessage()]
    assert [each.partition(":")[0] for each in said] == [f"epoch 1, batch {number + 1}" for number in bad]


@pytest.mark.parametrize(
    ("bad", "batches", "settings"),
    [((1, 3, 4), (4,), {}), ((0, 4), (3, 4, 5), {"accumulate_grad_batches": 3})],
)
def test_error_names_the_pairs_of_the_last_step(
    bad: tuple[int, ...], batches: tuple[int, ...], settings: dict[str, Any], datamodule: GroundingDataModule
) -> None:
    with pytest.raises(DataError, match=r"2 steps in a row .*non_finite\.limit") as caught:
        fit(datamodule, bad, 2, **settings)
    rows = [batch.index.tolist() for batch in datamodule.train_dataloader()]
    qids = [TRAIN[row].qid for number in batches for row in rows[number]]
    message = str(caught.value)
    assert message.startswith(f"epoch 1, batch {batches[-1] + 1}: ")
    assert f"pairs of the last step: {', '.join(map(repr, qids[:10]))}" in message
    assert "trainer.detect_anomaly=true" in message


def test_limit_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="limit must be 1 or more; got 0"):
        NonFinite(limit=0)
