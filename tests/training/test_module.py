"""Oracle: one pass over all pairs with plain numbers; a model whose gradients are known."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from apple import apple
from corpora import CLIPS, ROWS, TEST, TRAIN, VAL, Table, ready, trainer, write_corpus
from cpnet.batch import GroundingBatch, GroundingOutput
from cpnet.data.datamodule import GroundingDataModule
from cpnet.data.moment import Moment
from cpnet.errors import ConfigError, DataError
from cpnet.evaluation.metrics import RESOLUTION, GroundingMetrics
from cpnet.options import LossOptions, MetricsOptions
from cpnet.training.losses import GroundingLoss
from cpnet.training.module import GroundingModule
from evaluation import reference

TERMS = {"loss", "attention", "regression"}
METRICS = {"R1@0.3", "R1@0.5", "R1@0.7", "dR1@0.3", "dR1@0.5", "dR1@0.7", "mIoU", "reversed"}


@pytest.fixture
def datamodule(tmp_path: Path) -> GroundingDataModule:
    return ready(write_corpus(tmp_path))  # batches of 3; the last one of 20, 3 and 7 pairs may be smaller


def parameters(of: GroundingModule) -> Tensor:
    (table,) = of.model.parameters()
    return table.detach()


def table(pairs: int, seed: int = 0) -> Tensor:
    return torch.rand(pairs, 2, generator=torch.Generator().manual_seed(seed))


def module(answers: Tensor, *, rate: float = 0.0, **changes: Any) -> GroundingModule:
    arguments: dict[str, Any] = {
        "model": Table(answers.clone()),
        "loss": GroundingLoss(LossOptions(attention_weight=2.0, regression_weight=3.0)),
        "optimizer": lambda parameters: SGD(parameters, lr=rate),
    }
    return GroundingModule(**arguments | changes)


def collection(of: GroundingModule, split: str) -> GroundingMetrics:
    metrics = of.metrics[split]
    assert isinstance(metrics, GroundingMetrics)
    return metrics


def terms(answers: Tensor, moments: list[Moment]) -> dict[str, float]:
    """Return the mean loss of a table with uniform attention over all pairs."""
    attention = regression = 0.0
    for answer, each in zip(answers.tolist(), moments, strict=True):
        attention += math.log(min(ROWS[each.video], CLIPS)) / len(moments)
        for predicted, true in zip(answer, each.windows_sec[0], strict=True):
            error = abs(predicted - true / each.duration_sec)
            regression += (error**2 / 2 if error < 1 else error - 0.5) / len(moments)
    return {"attention": attention, "regression": regression, "loss": 2 * attention + 3 * regression}


def measures(answers: Tensor, moments: list[Moment], *, strict: bool = False) -> dict[str, float]:
    duration = np.array([each.duration_sec for each in moments])
    ranked = np.sort(answers.double().numpy(), axis=1)[:, None] * duration[:, None, None]
    target = np.array([each.windows_sec[0] for each in moments])
    values = {"mIoU": reference.mean_iou(ranked, target)}
    for m in (0.3, 0.5, 0.7):
        values[f"R1@{m}"] = reference.recall(ranked, target, n=1, threshold=m, strict=strict)
        values[f"dR1@{m}"] = reference.discounted_recall(ranked, target, duration, n=1, threshold=m, strict=strict)
    values["reversed"] = 100 * sum(start > end for start, end in answers.tolist()) / len(moments)
    return values


def logged(run: Trainer, split: str) -> dict[str, float]:
    values = run.callback_metrics
    return {key.removeprefix(f"{split}/"): value.item() for key, value in values.items() if key.startswith(f"{split}/")}


def clipped(datamodule: GroundingDataModule, split: str) -> list[Moment]:
    return list(datamodule.dataset(split).moments)


def test_ties_follow_the_metrics_options(datamodule: GroundingDataModule) -> None:
    answers = torch.tensor([[0.0, 0.25]] * len(TEST))  # IoU 1/2 with the first pair
    for strict in (False, True):
        run = trainer()
        run.test(module(answers, metrics=MetricsOptions(strict=strict)), datamodule=datamodule, verbose=False)
        expected = measures(answers, clipped(datamodule, "test"), strict=strict)
        assert logged(run, "test") == pytest.approx(expected)


def test_validation_logs_loss_and_metrics_over_all_pairs(datamodule: GroundingDataModule) -> None:
    answers = table(len(TEST))
    run = trainer()
    run.validate(module(answers), dataloaders=datamodule.evaluation_dataloader("test"), verbose=False)
    assert set(run.callback_metrics) == {f"val/{name}" for name in METRICS | TERMS}
    moments = clipped(datamodule, "test")
    assert logged(run, "val") == pytest.approx(measures(answers, moments) | terms(answers, moments))


def test_training_logs_losses_rate_and_norm(datamodule: GroundingDataModule) -> None:
    answers = table(len(TRAIN))
    run = trainer(max_epochs=1)
    run.fit(module(answers), datamodule=datamodule)  # at a rate of 0
    names = {f"train/{name}" for name in TERMS | {"learning_rate", "gradient_norm", "skipped"}}
    assert set(run.callback_metrics) == names | {f"val/{name}" for name in METRICS | TERMS}
    expected = terms(answers, clipped(datamodule, "train"))
    found = logged(run, "train")
    assert {name: found[name] for name in TERMS} == pytest.approx(expected)
    assert (found["learning_rate"], found["skipped"]) == (0, 0)


def test_split_without_true_windows_is_not_scored(tmp_path: Path) -> None:
    unknown = [replace(each, windows_sec=()) for each in TEST]
    datamodule = ready(write_corpus(tmp_path, {"train": TRAIN, "val": VAL, "test": unknown}))
    measured, run = module(table(len(TEST))), trainer()
    measured.missed = 2
    run.test(measured, datamodule=datamodule, verbose=False)
    assert set(run.callback_metrics) == {"test/reversed"}
    assert collection(measured, "test").pairs == 0  # the missed pairs would count in the next test split
    run.validate(measured, datamodule=datamodule, verbose=False)
    assert set(run.callback_metrics) == {f"val/{name}" for name in METRICS | TERMS}


@pytest.mark.parametrize("loop", ["fit", "validate", "test"])
def test_recall_beyond_the_ranked_predictions_is_refused(loop: str, datamodule: GroundingDataModule) -> None:
    measured, run = module(table(len(TRAIN)), metrics=MetricsOptions(recall_at=[5, 1])), trainer(max_epochs=1)
    with pytest.raises(
        ConfigError, match=r"metrics\.recall_at has 5, but the model ranks 1 predictions a query: remove"
    ):
        getattr(run, loop)(measured, datamodule=datamodule)
    assert run.global_step == 0


class Watch(Callback):
    """Records the rate and the table of each step."""

    def __init__(self) -> None:
        self.rates: list[float] = []
        self.tables: list[Tensor] = []

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        self.rates.append(optimizer.param_groups[0]["lr"])
        self.tables.append(next(pl_module.parameters()).detach().clone())


@pytest.mark.parametrize(("accumulate", "steps"), [(1, 14), (2, 8)])
def test_schedule_steps_with_the_optimiser(accumulate: int, steps: int, datamodule: GroundingDataModule) -> None:
    planned: list[int] = []

    def schedule(optimizer: Optimizer, *, total_steps: int) -> LRScheduler:
        planned.append(total_steps)
        return LambdaLR(optimizer, lambda step: 1 / (step + 1))

    watch = Watch()
    run = trainer(max_epochs=2, accumulate_grad_batches=accumulate, callbacks=[watch])
    run.fit(module(table(len(TRAIN)), rate=0.5, scheduler=schedule), datamodule=datamodule)
    assert planned == [steps]  # 7 batches an epoch
    assert watch.rates == pytest.approx([0.5 / (step + 1) for step in range(steps)])
    last_epoch = watch.rates[steps // 2 :]
    assert logged(run, "train")["learning_rate"] == pytest.approx(sum(last_epoch) / len(last_epoch))


@pytest.mark.parametrize(
    ("algorithm", "limit"),
    [("norm", 0.05), ("norm", 50.0), ("norm", 0.0), ("norm", -1.0), ("value", 0.05), (None, None)],
)
def test_gradients_are_clipped_by_norm_or_value(
    algorithm: str | None, limit: float | None, datamodule: GroundingDataModule
) -> None:
    start = table(len(TRAIN))
    options = {"gradient_clip_val": limit, "gradient_clip_algorithm": algorithm}
    run = trainer(max_epochs=1, max_steps=1, limit_val_batches=0, **options)
    trained = module(start, rate=1.0)
    run.fit(trained, datamodule=datamodule)
    moved = (start - parameters(trained)).double().numpy()
    (pairs,) = moved.any(axis=1).nonzero()
    targets = np.array([each.windows_sec[0] for each in TRAIN]) / 10  # TRAIN's videos are ten seconds long
    gradient = start.double().numpy()[pairs] - targets[pairs]  # of smooth L1; weight 3, mean over 3 pairs
    norm = np.linalg.norm(gradient)
    assert 0.05 < np.abs(gradient).max() <= norm < 50
    assert logged(run, "train")["gradient_norm"] == pytest.approx(norm)
    expected = gradient
    if algorithm == "value":
        expected = gradient.clip(-0.05, 0.05)
    elif limit and limit > 0:
        expected = gradient * min(1, limit / norm)
    np.testing.assert_allclose(moved[pairs], expected, atol=1e-5)


class Counting(Table):
    """Records the number of videos of each batch."""

    def forward(self, batch: GroundingBatch) -> GroundingOutput:
        self.videos = [*getattr(self, "videos", []), len(batch.video)]
        return super().forward(batch.per_pair())


@pytest.mark.parametrize("shares", [None, False, True])
def test_videos_are_shared_only_with_models_that_support_it(shares: bool | None, tmp_path: Path) -> None:
    datamodule, answers = ready(write_corpus(tmp_path) | {"evaluation_order": "video"}), table(len(TEST))
    model, run = Counting(answers), trainer()
    if shares is not None:
        vars(model)["shares_videos"] = shares
    run.test(module(answers, model=model), datamodule=datamodule, verbose=False)
    assert model.videos == ([2, 2, 1] if shares else [3, 3, 1])  # of 3, 3 and 1 pairs of e00, e01 and e02
    assert logged(run, "test") == pytest.approx(measures(answers, clipped(datamodule, "test")))


def test_metrics_are_exact_in_mixed_precision(datamodule: GroundingDataModule) -> None:
    answers = table(len(TEST))
    measured = module(answers)
    run = trainer(precision="bf16-mixed")
    run.test(measured, datamodule=datamodule, verbose=False)
    assert collection(measured, "test").sums.dtype == torch.int64
    expected = measures(answers, clipped(datamodule, "test"))
    found = {key: value for key, value in logged(run, "test").items() if key != "reversed"}
    assert found == {key: pytest.approx(expected[key], abs=100 * RESOLUTION) for key in found}


def test_validation_and_test_are_measured_separately(datamodule: GroundingDataModule) -> None:
    answers, run = table(len(TEST)), trainer()
    measured = module(answers)
    run.validate(measured, datamodule=datamodule, verbose=False)
    assert logged(run, "val") == pytest.approx(measures(answers[:3], VAL) | terms(answers[:3], VAL))
    run.test(measured, datamodule=datamodule, verbose=False)
    run.test(measured, datamodule=datamodule, verbose=False)  # the second test replaces the first
    assert set(run.callback_metrics) == {f"test/{name}" for name in METRICS}
    assert logged(run, "test") == pytest.approx(measures(answers, clipped(datamodule, "test")))
    measured.tested = "test_ood"  # a further test split
    run.test(measured, datamodule=datamodule, verbose=False)
    assert set(run.callback_metrics) == {f"test_ood/{name}" for name in METRICS}


def test_run_on_a_device_without_float64_equals_one_on_the_cpu(datamodule: GroundingDataModule) -> None:
    def measured(accelerator: str, device: str) -> tuple[dict[str, float], list[list[float]]]:
        trained, run = module(table(len(TRAIN)), rate=0.5), trainer(max_epochs=2, accelerator=accelerator)
        run.fit(trained, datamodule=datamodule)
        assert run.strategy.root_device.type == device
        found = dict(run.callback_metrics)
        run.test(trained, dataloaders=datamodule.evaluation_dataloader("test"), verbose=False)
        found |= run.callback_metrics
        return {key: float(value) for key, value in found.items()}, parameters(trained).tolist()

    expected = measured("cpu", "cpu")
    with apple():
        assert measured("auto", "mps") == expected


def test_prediction_that_is_not_finite_is_an_error(datamodule: GroundingDataModule) -> None:
    answers = table(len(TEST))
    answers[[1, 4], 0] = torch.tensor([torch.nan, torch.inf])
    run = trainer()
    message = r"2 of 7 predictions of the test split are not finite\n  'test-1', 'test-4'\n.*normalise=true"
    with pytest.raises(DataError, match=message):
        run.test(module(answers), datamodule=datamodule, verbose=False)
    assert run.callback_metrics == {}
    with pytest.raises(DataError, match=r"1 of 3 predictions of the val split are not finite\n  'val-1'\n"):
        trainer().validate(module(answers), datamodule=datamodule, verbose=False)


def test_checkpoint_holds_provenance_and_weights(datamodule: GroundingDataModule, tmp_path: Path) -> None:
    provenance = {"format": 1, "config": {"seed": 3}}
    trained = module(table(len(TRAIN)), rate=0.1, provenance=provenance)
    run = trainer(max_epochs=1, limit_val_batches=0)
    run.fit(trained, datamodule=datamodule)
    run.save_checkpoint(tmp_path / "file.ckpt")
    content = torch.load(tmp_path / "file.ckpt", weights_only=True)
    assert content["cpnet"] == provenance
    assert set(content["state_dict"]) == {"model.table"}
    fresh = module(torch.zeros(len(TRAIN), 2))
    fresh.load_state_dict(content["state_dict"])
    assert torch.equal(parameters(fresh), parameters(trained))


class Regressor(nn.Module):
    """Has a loss of its own and returns no attention."""

    def __init__(self, answers: Tensor) -> None:
        super().__init__()
        self.table = nn.Parameter(answers.clone())

    def forward(self, batch: GroundingBatch) -> GroundingOutput:
        span = self.table[batch.index]
        return GroundingOutput(span=span, ranked=span.sort(dim=-1).values[:, None])

    def loss(self, output: GroundingOutput, batch: GroundingBatch) -> dict[str, Tensor]:
        error = (output.span - batch.windows[:, 0]).square().sum(dim=1).mean()
        return {"loss": 2 * error, "error": error}


def test_loss_of_the_model_replaces_the_configured_loss(datamodule: GroundingDataModule) -> None:
    answers, run = table(len(TRAIN)), trainer(max_epochs=1)
    run.fit(module(answers, model=Regressor(answers)), datamodule=datamodule)
    targets = np.array([each.windows_sec[0] for each in TRAIN]) / 10  # TRAIN's videos are ten seconds long
    error = ((answers.double().numpy() - targets) ** 2).sum(axis=1).mean()
    found = logged(run, "train")
    assert (found["loss"], found["error"]) == pytest.approx((2 * error, error), rel=1e-5)
    assert {"loss", "error", "mIoU"} <= logged(run, "val").keys()
