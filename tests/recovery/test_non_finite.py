"""Oracle: a training by hand in plain torch, which leaves out the batches whose loss is not a number."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Trainer
from torch import Tensor
from torch.optim import Adam

from corpora import TRAIN, Table, ready, trainer, write_corpus
from cpnet.batch import GroundingBatch, GroundingOutput
from cpnet.checkpoint import CheckpointFiles
from cpnet.data.datamodule import GroundingDataModule
from cpnet.data.moment import DataError
from cpnet.losses import GroundingLoss
from cpnet.module import GroundingModule
from cpnet.recovery import NonFinite

RATE = 0.1


@dataclass(frozen=True, kw_only=True)
class Loss(GroundingLoss):
    """Is not a number at some of its calls, from 0."""

    bad: Collection[int]
    calls: Iterator[int] = field(default_factory=itertools.count)

    def __call__(self, output: GroundingOutput, batch: GroundingBatch) -> dict[str, Tensor]:
        terms = super().__call__(output, batch)
        return {name: value * float("nan") for name, value in terms.items()} if next(self.calls) in self.bad else terms


@pytest.fixture(scope="module")
def datamodule(tmp_path_factory: pytest.TempPathFactory) -> GroundingDataModule:
    return ready(write_corpus(tmp_path_factory.mktemp("corpus")))  # 7 batches an epoch


def table() -> Table:
    return Table(torch.rand(len(TRAIN), 2, generator=torch.Generator().manual_seed(0)))


def by_hand(datamodule: GroundingDataModule, bad: Collection[int], *, batches: int = 7) -> tuple[Table, Adam]:
    model = table()
    adam, loss = Adam(model.parameters(), lr=RATE), GroundingLoss()
    for number, batch in enumerate(datamodule.train_dataloader()):
        if number < batches and number not in bad:
            adam.zero_grad()
            loss(model(batch.per_pair()), batch)["loss"].backward()  # type: ignore[no-untyped-call]
            adam.step()
    return model, adam


def fit(
    datamodule: GroundingDataModule, bad: Collection[int], folder: Path, limit: int, **settings: Any
) -> tuple[Trainer, Any]:
    module = GroundingModule(
        model=table(),
        loss=Loss(bad=bad),
        optimizer=lambda parameters: Adam(parameters, lr=RATE),
        provenance={"format": 2, "config": {}, "vocabulary": {}},
    )
    settings |= {"callbacks": [NonFinite(folder, limit=limit)], "plugins": [CheckpointFiles()]}
    run = trainer(max_epochs=1, limit_val_batches=0, **settings)
    run.fit(module, datamodule=datamodule)
    return run, module


@pytest.mark.parametrize(("bad", "limit"), [((), 1), ((3,), 2), ((0,), 2), ((0, 2, 4, 6), 2), ((1, 2, 5, 6), 3)])
def test_a_step_that_is_skipped_changes_nothing(
    bad: tuple[int, ...], limit: int, datamodule: GroundingDataModule, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        run, module = fit(datamodule, bad, tmp_path, limit)
    model, adam = by_hand(datamodule, bad)
    assert torch.equal(module.model.table, model.table)
    (found,), (expected,) = run.optimizers[0].state.values(), adam.state.values()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert float(run.callback_metrics["train/skipped"]) == len(bad)
    said = [record.getMessage() for record in caplog.records if "the step is skipped" in record.getMessage()]
    assert [each.partition(":")[0] for each in said] == [f"epoch 0, batch {number}" for number in bad]
    assert not list(tmp_path.iterdir())


def test_too_many_in_a_row_end_the_run_and_leave_the_last_batch(
    datamodule: GroundingDataModule, tmp_path: Path
) -> None:
    with pytest.raises(
        DataError, match=r"(?s)epoch 0, batch 4: 2 steps in a row .*non_finite\.limit.*replay="
    ) as caught:
        fit(datamodule, (1, 3, 4), tmp_path, 2)
    assert str(tmp_path / "non_finite.ckpt") in str(caught.value)
    content = torch.load(tmp_path / "non_finite.ckpt", weights_only=True)
    model, _ = by_hand(datamodule, (1, 3, 4), batches=5)
    assert torch.equal(content["state_dict"]["model.table"], model.table)
    replay = content["replay"]
    rows = [batch.index.tolist() for batch in datamodule.train_dataloader()]
    qids = [TRAIN[row].qid for row in rows[4]]
    assert (replay["epoch"], replay["batch"]) == (0, 4)
    (only,) = replay["batches"]
    assert (only["batch"], only["qids"]) == (4, [qids])
    assert only["random"].keys() == {"python", "numpy", "torch", "cuda"}


def test_all_batches_of_a_step_are_kept(datamodule: GroundingDataModule, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"epoch 0, batch 5: 2 steps in a row"):
        fit(datamodule, (0, 4), tmp_path, 2, accumulate_grad_batches=3)
    batches = torch.load(tmp_path / "non_finite.ckpt", weights_only=True)["replay"]["batches"]
    rows = [batch.index.tolist() for batch in datamodule.train_dataloader()]
    expected = [(number, [[TRAIN[row].qid for row in rows[number]]]) for number in (3, 4, 5)]
    assert [(each["batch"], each["qids"]) for each in batches] == expected


def test_a_limit_below_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="limit must be 1 or more; got 0"):
        NonFinite(tmp_path, limit=0)
