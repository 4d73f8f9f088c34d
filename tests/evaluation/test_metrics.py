"""Metric classes and their collection against ``reference``; states across batches, processes and types."""

from __future__ import annotations

import math
from copy import deepcopy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from cpnet.evaluation.metrics import (
    RESOLUTION,
    DiscountedRecallAtIoU,
    MeanIoU,
    PairMean,
    RecallAtIoU,
    grounding_metrics,
)
from cpnet.evaluation.names import pair_scores, printed_name
from cpnet.options import MetricsOptions
from evaluation import reference
from evaluation.problems import THRESHOLDS, Problem, problems

METRICS = [MeanIoU(), RecallAtIoU(n=2, threshold=0.5), DiscountedRecallAtIoU(n=2, threshold=0.5)]
# IoUs 1/3 and 2/3 have no short float, so that a state of less than float64 shows.
THIRDS = (
    torch.tensor([[[0.0, 1.0]], [[0.0, 2.0]], [[0.0, 3.0]]]),
    torch.tensor([[0.0, 3.0], [0.0, 3.0], [0.0, 3.0]]),
    torch.tensor([3.0, 3.0, 3.0]),
)


def pair(end: float) -> tuple[Tensor, Tensor, Tensor]:
    """One pair whose IoU, and whose end in fractions, is ``end``."""
    return torch.tensor([[[0.0, end]]]), torch.tensor([[0.0, 1.0]]), torch.tensor([1.0])


@given(problems(), THRESHOLDS, st.booleans())
@settings(max_examples=50)
def test_collection_equals_the_reference(problem: Problem, m: float, strict: bool) -> None:
    metrics = grounding_metrics(MetricsOptions(recall_at=[1, 3], thresholds=[0.5, m], strict=strict))
    metrics.update(*problem.pairs(slice(None)))
    ranked, target, duration = problem.arrays()
    expected = {"mIoU": reference.mean_iou(ranked, target)}
    for n in (1, 3):
        for threshold in (0.5, m):
            key, options = f"R{n}@{threshold:g}", {"n": n, "threshold": threshold, "strict": strict}
            expected[key] = reference.recall(ranked, target, **options)  # type: ignore[arg-type]
            expected[f"d{key}"] = reference.discounted_recall(ranked, target, duration, **options)  # type: ignore[arg-type]
    computed = metrics.compute()
    assert {key: value.item() for key, value in computed.items()} == pytest.approx(expected)
    assert {value.dtype for value in computed.values()} == {torch.float64}
    same = MetricsOptions(recall_at=[1, 3], thresholds=[0.5, m], strict=strict)
    scores = pair_scores(same, ranked, target, duration)
    assert {key: 100 * score.mean() for key, score in scores.items()} == pytest.approx(expected)


@given(problems(), st.sampled_from(METRICS), st.data())
def test_states_of_two_processes_add_up(problem: Problem, fresh: PairMean, data: st.DataObject) -> None:
    one, first, second = (deepcopy(fresh) for _ in range(3))
    order = data.draw(st.permutations(range(len(problem.target))))
    cut = data.draw(st.integers(0, len(problem.target)))
    one.update(*problem.pairs(slice(None)))
    first.update(*problem.pairs(list(order[:cut])))
    second.update(*problem.pairs(list(order[cut:])))

    def gather(state: Tensor, group: object = None) -> list[Tensor]:
        return [state, second.score_sum if state is first.score_sum else second.total]

    first.sync(dist_sync_fn=gather, distributed_available=lambda: True)
    assert first.score_sum.item() == one.score_sum.item()
    assert first.total.item() == one.total.item() == len(problem.target)


@given(st.integers(0, 2**32 - 1), st.integers(1, 7))
@settings(max_examples=15)
def test_mean_is_bit_identical_in_any_order_and_batching(seed: int, size: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    ranked, target = torch.rand(2, 500, 2, generator=generator, dtype=torch.float64).sort(dim=-1).values
    one, shuffled = MeanIoU(), MeanIoU()
    one.update(ranked[:, None], target)
    for batch in torch.split(torch.randperm(500, generator=generator), size):
        shuffled.update(ranked[batch, None], target[batch])
    assert one.compute().item() == shuffled.compute().item()
    ious = [reference.iou(*pair) for pair in zip(ranked.cpu().numpy(), target.cpu().numpy(), strict=True)]
    assert one.compute().item() == pytest.approx(100 * math.fsum(ious) / 500, abs=100 * RESOLUTION)


class Holder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.metric = MeanIoU()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_state_stays_exact_when_its_module_is_converted(dtype: torch.dtype) -> None:
    holder = Holder()
    holder.metric.update(*THIRDS)
    exact = holder.metric.score_sum.item()
    for converted in (holder.to(dtype), holder.type(dtype), holder.half(), holder.bfloat16(), holder.float()):
        assert converted.metric.score_sum.dtype == torch.int64
        assert converted.metric.score_sum.item() == exact
        assert converted.metric.total.dtype == torch.int64
    assert holder.to(dtype).weight.dtype == dtype
    holder.metric.reset()
    assert holder.metric.score_sum.dtype == torch.int64
    with torch.autocast("cpu", dtype=torch.bfloat16):
        holder.metric.update(*THIRDS)
    assert holder.metric.compute().item() == pytest.approx(200 / 3, abs=100 * RESOLUTION)


def test_state_moves_to_the_device_of_its_module() -> None:
    metric = Holder().to("meta").metric
    assert (metric.score_sum.device.type, metric.total.device.type) == ("meta", "meta")


def test_sums_are_exact_beyond_the_integers_of_a_float() -> None:
    metric = MeanIoU()
    metric.total, metric.score_sum = torch.tensor(2**53), torch.tensor(2**62)
    metric.update(*THIRDS)
    assert metric.total.item() == 2**53 + 3
    assert metric.score_sum.item() - 2**62 == round(2**30 / 3) + round(2**31 / 3) + 2**30


def test_mean_is_nan_before_the_first_pair() -> None:
    with pytest.warns(UserWarning, match="before the ``update`` method"):
        assert MeanIoU().compute().isnan()


def test_forward_returns_the_batch_and_reset_clears_the_sum() -> None:
    metric = MeanIoU()
    assert [metric(*pair(end)).item() for end in (1.0, 0.5)] == [100, 50]
    metric.update(torch.zeros(0, 1, 2), torch.zeros(0, 2))  # a batch without pairs
    assert metric.compute().item() == 75
    metric.reset()
    metric.update(*pair(1.0))
    assert metric.compute().item() == 100


def test_only_discounted_recall_needs_durations() -> None:
    ranked, target, _ = pair(1.0)
    plain = RecallAtIoU(n=1, threshold=0.5)
    plain.update(ranked, target)
    assert plain.compute().item() == 100
    with pytest.raises(ValueError, match=r"duration_sec must be \(B,\), got None"):
        DiscountedRecallAtIoU(n=1, threshold=0.5).update(ranked, target)


@pytest.mark.parametrize(
    ("options", "keys"),
    [
        (MetricsOptions(), "R1@0.3 R1@0.5 R1@0.7 dR1@0.3 dR1@0.5 dR1@0.7 mIoU"),
        (
            MetricsOptions(recall_at=[1, 5], thresholds=[0.5, 1], discounted=False),
            "R1@0.5 R1@1 R5@0.5 R5@1 mIoU",
        ),
    ],
)
def test_collection_has_a_key_for_each_metric(options: MetricsOptions, keys: str) -> None:
    metrics = grounding_metrics(options)
    metrics.update(*pair(0.5))
    assert set(metrics.keys()) == {key for key, _ in metrics.items()} == set(metrics.compute()) == set(keys.split())


def test_metrics_that_agree_on_the_first_batch_stay_separate() -> None:
    metrics = grounding_metrics(MetricsOptions())
    metrics.update(*pair(1.0))
    metrics.update(*pair(0.6))
    expected = {"R1@0.3": 100, "R1@0.5": 100, "R1@0.7": 50, "dR1@0.3": 80, "dR1@0.5": 80, "dR1@0.7": 50, "mIoU": 80}
    assert {key: value.item() for key, value in metrics.compute().items()} == pytest.approx(expected)


@pytest.mark.parametrize("key", ["", "loss", "R@1", "test/mIoU", "xR1@0.5"])
def test_error_names_unknown_key(key: str) -> None:
    with pytest.raises(ValueError, match=f"got '{key}'"):
        printed_name(key)
