"""The collection and the names of its metrics."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from torch import Tensor

from cpnet.metrics import RecallAtIoU, grounding_metrics, printed_name
from metrics import reference
from metrics.problems import Problem, problems


def pair(end: float) -> tuple[Tensor, Tensor, Tensor]:
    """One pair whose IoU, and whose end in fractions, is ``end``."""
    return torch.tensor([[[0.0, end]]]), torch.tensor([[0.0, 1.0]]), torch.tensor([1.0])


def test_the_default_collection_has_the_keys_of_a_table() -> None:
    assert set(grounding_metrics().keys()) == {
        *("R1@0.3", "R1@0.5", "R1@0.7"),
        *("dR1@0.3", "dR1@0.5", "dR1@0.7"),
        "mIoU",
    }


def test_the_collection_takes_several_n_and_a_prefix() -> None:
    metrics = grounding_metrics(recall_at=(1, 5), thresholds=(0.5, 1), discounted=False, prefix="test/")
    keys = {"test/R1@0.5", "test/R1@1", "test/R5@0.5", "test/R5@1", "test/mIoU"}
    assert set(metrics.keys()) == {key for key, _ in metrics.items()} == keys
    metrics.update(*pair(0.5))
    assert set(metrics.compute()) == keys


@given(problems())
@settings(max_examples=30)
def test_the_collection_is_the_loops(problem: Problem) -> None:
    metrics = grounding_metrics(recall_at=(1, 3), thresholds=(0.3, 0.5), strict=True)
    metrics.update(*problem.pairs(slice(None)))
    ranked, target, duration = problem.arrays()
    expected = {"mIoU": reference.mean_iou(ranked, target)}
    for n in (1, 3):
        for m in (0.3, 0.5):
            expected[f"R{n}@{m}"] = reference.recall(ranked, target, n=n, threshold=m, strict=True)
            expected[f"dR{n}@{m}"] = reference.discounted_recall(
                ranked, target, duration, n=n, threshold=m, strict=True
            )
    assert {key: value.item() for key, value in metrics.compute().items()} == pytest.approx(expected)


def test_metrics_that_agree_on_the_first_batch_stay_apart() -> None:
    metrics = grounding_metrics()
    metrics.update(*pair(1.0))
    metrics.update(*pair(0.6))
    expected = {"R1@0.3": 100, "R1@0.5": 100, "R1@0.7": 50, "dR1@0.3": 80, "dR1@0.5": 80, "dR1@0.7": 50, "mIoU": 80}
    assert {key: value.item() for key, value in metrics.compute().items()} == pytest.approx(expected)


def test_a_metric_is_found_by_its_key() -> None:
    metrics = grounding_metrics(recall_at=(5,), strict=True, prefix="val/")
    metric = metrics["val/R5@0.7"]
    assert isinstance(metric, RecallAtIoU)
    assert (metric.n, metric.threshold, metric.strict) == (5, 0.7, True)


def test_a_copy_under_another_prefix_counts_apart() -> None:
    validation = grounding_metrics(thresholds=(0.5,), prefix="val/")
    test = validation.clone(prefix="test/")
    validation.update(*pair(1.0))
    test.update(*pair(0.25))
    assert validation.compute()["val/mIoU"].item() == 100
    assert test.compute()["test/mIoU"].item() == 25


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(0, 1\], got 50"):
        grounding_metrics(thresholds=(50,))
    with pytest.raises(ValueError, match="at least 1, got 0"):
        grounding_metrics(recall_at=(0,))


def test_every_key_has_a_printed_name() -> None:
    metrics = grounding_metrics(recall_at=(1, 5), thresholds=(0.5, 0.75))
    assert set(map(printed_name, map(str, metrics.keys()))) == {
        *("R@1,IoU=0.5", "R@5,IoU=0.5", "R@1,IoU=0.75", "R@5,IoU=0.75"),
        *("dR@1,IoU@0.5", "dR@5,IoU@0.5", "dR@1,IoU@0.75", "dR@5,IoU@0.75"),
        "mIoU",
    }


@pytest.mark.parametrize("key", ["", "loss", "R@1", "test/mIoU", "xR1@0.5"])
def test_an_unknown_key_is_named(key: str) -> None:
    with pytest.raises(ValueError, match=f"got '{key}'"):
        printed_name(key)
