"""``GroundingMetrics`` against ``reference``; its states across batches, processes and types."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from cpnet.evaluation.metrics import RESOLUTION, GroundingMetrics
from cpnet.options import MetricsOptions
from evaluation import reference
from evaluation.problems import THRESHOLDS, Problem, problems

# IoUs 1/3 and 2/3 have no short float, so that a state of less than float64 shows.
THIRDS = (
    torch.tensor([[[0.0, 1.0]], [[0.0, 2.0]], [[0.0, 3.0]]]),
    torch.tensor([[0.0, 3.0], [0.0, 3.0], [0.0, 3.0]]),
    torch.tensor([3.0, 3.0, 3.0]),
)


def mean_iou() -> GroundingMetrics:
    return GroundingMetrics(MetricsOptions(recall_at=[]))


def pair(end: float) -> tuple[Tensor, Tensor, Tensor]:
    """One pair whose IoU, and whose end in fractions, is ``end``."""
    return torch.tensor([[[0.0, end]]]), torch.tensor([[0.0, 1.0]]), torch.tensor([1.0])


@given(problems(), THRESHOLDS, st.booleans(), st.booleans())
@settings(max_examples=50)
def test_metrics_equal_the_reference(problem: Problem, m: float, strict: bool, discounted: bool) -> None:
    options = MetricsOptions(recall_at=[1, 3], thresholds=[0.5, m], strict=strict, discounted=discounted)
    metrics = GroundingMetrics(options)
    metrics.update(*problem.pairs(slice(None)))
    ranked, target, duration = problem.arrays()
    expected = {"mIoU": reference.mean_iou(ranked, target)}
    for n in (1, 3):
        for threshold in (0.5, m):
            key, rules = f"R{n}@{threshold:g}", {"n": n, "threshold": threshold, "strict": strict}
            expected[key] = reference.recall(ranked, target, **rules)  # type: ignore[arg-type]
            if discounted:
                expected[f"d{key}"] = reference.discounted_recall(ranked, target, duration, **rules)  # type: ignore[arg-type]
    computed = metrics.compute()
    assert {key: value.item() for key, value in computed.items()} == pytest.approx(expected)
    assert {value.dtype for value in computed.values()} == {torch.float64}


@given(problems(), st.data())
def test_states_of_two_processes_add_up(problem: Problem, data: st.DataObject) -> None:
    one, first, second = (GroundingMetrics(MetricsOptions(recall_at=[2])) for _ in range(3))
    order = data.draw(st.permutations(range(len(problem.target))))
    cut = data.draw(st.integers(0, len(problem.target)))
    one.update(*problem.pairs(slice(None)))
    first.update(*problem.pairs(list(order[:cut])))
    second.update(*problem.pairs(list(order[cut:])))

    def gather(state: Tensor, group: object = None) -> list[Tensor]:
        return [state, second.sums if state is first.sums else second.pairs]

    first.sync(dist_sync_fn=gather, distributed_available=lambda: True)
    assert first.sums.tolist() == one.sums.tolist()
    assert first.pairs.item() == one.pairs.item() == len(problem.target)


@given(st.integers(0, 2**32 - 1), st.integers(1, 7))
@settings(max_examples=15)
def test_mean_is_bit_identical_in_any_order_and_batching(seed: int, size: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    ranked, target = torch.rand(2, 500, 2, generator=generator, dtype=torch.float64).sort(dim=-1).values
    duration, one, shuffled = torch.ones(500), mean_iou(), mean_iou()
    one.update(ranked[:, None], target, duration)
    for batch in torch.split(torch.randperm(500, generator=generator), size):
        shuffled.update(ranked[batch, None], target[batch], duration[batch])
    assert one.compute()["mIoU"].item() == shuffled.compute()["mIoU"].item()
    ious = [reference.iou(*pair) for pair in zip(ranked.numpy(), target.numpy(), strict=True)]
    assert one.compute()["mIoU"].item() == pytest.approx(100 * math.fsum(ious) / 500, abs=100 * RESOLUTION)


class Holder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.metric = mean_iou()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_state_stays_exact_when_its_module_is_converted(dtype: torch.dtype) -> None:
    holder = Holder()
    holder.metric.update(*THIRDS)
    exact = holder.metric.sums.item()
    for converted in (holder.to(dtype), holder.type(dtype), holder.half(), holder.bfloat16(), holder.float()):
        assert converted.metric.sums.dtype == converted.metric.pairs.dtype == torch.int64
        assert converted.metric.sums.item() == exact
    assert holder.to(dtype).weight.dtype == dtype
    holder.metric.reset()
    assert holder.metric.sums.dtype == torch.int64
    with torch.autocast("cpu", dtype=torch.bfloat16):
        holder.metric.update(*THIRDS)
    assert holder.metric.compute()["mIoU"].item() == pytest.approx(200 / 3, abs=100 * RESOLUTION)


def test_sums_are_exact_beyond_the_integers_of_a_float() -> None:
    metric = mean_iou()
    metric.pairs, metric.sums = torch.tensor(2**53), torch.tensor([2**62])
    metric.update(*THIRDS)
    assert metric.pairs.item() == 2**53 + 3
    assert metric.sums.item() - 2**62 == round(2**30 / 3) + round(2**31 / 3) + 2**30


def test_mean_is_nan_before_the_first_pair() -> None:
    with pytest.warns(UserWarning, match="before the ``update`` method"):
        assert mean_iou().compute()["mIoU"].isnan()


def test_batches_and_missed_pairs_add_up_by_key() -> None:
    metrics = GroundingMetrics(MetricsOptions())
    for end in (1.0, 0.6):
        metrics.update(*pair(end))
    metrics.update(torch.zeros(0, 1, 2), torch.zeros(0, 2), torch.zeros(0))  # a batch without pairs
    metrics.add_missed(2)
    expected = {"R1@0.3": 50, "R1@0.5": 50, "R1@0.7": 25, "dR1@0.3": 40, "dR1@0.5": 40, "dR1@0.7": 25, "mIoU": 40}
    assert {key: value.item() for key, value in metrics.compute().items()} == pytest.approx(expected)
