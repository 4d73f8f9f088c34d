"""mIoU against the loop of ``reference``, and what holds for every mean over pairs: its state."""

from __future__ import annotations

import math
from copy import deepcopy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from cpnet.metrics import DiscountedRecallAtIoU, MeanIoU, RecallAtIoU
from cpnet.metrics.mean_iou import RESOLUTION, PairMean
from metrics import reference
from metrics.problems import Problem, problems

METRICS = [MeanIoU(), RecallAtIoU(n=2), DiscountedRecallAtIoU(n=2)]
# 1/3 and 2/3 have no short float: a state that had been rounded to less than float64 shows.
THIRDS = (
    torch.tensor([[[0.0, 1.0]], [[0.0, 2.0]], [[0.0, 3.0]]]),
    torch.tensor([[0.0, 3.0], [0.0, 3.0], [0.0, 3.0]]),
    torch.tensor([3.0, 3.0, 3.0]),
)


@given(problems())
def test_mean_iou_is_the_loop_and_looks_at_the_first_only(problem: Problem) -> None:
    metric = MeanIoU()
    metric.update(problem.ranked, problem.target)
    ranked, target, _ = problem.arrays()
    value = metric.compute()
    assert value.dtype == torch.float64
    assert value.item() == pytest.approx(reference.mean_iou(ranked, target))


@given(problems(), st.sampled_from(METRICS), st.data())
def test_states_of_two_processes_add_up_to_that_of_one(problem: Problem, fresh: PairMean, data: st.DataObject) -> None:
    one, first, second = (deepcopy(fresh) for _ in range(3))
    cut = data.draw(st.integers(0, len(problem.target)))
    one.update(*problem.pairs(slice(None)))
    first.update(*problem.pairs(slice(None, cut)))
    second.update(*problem.pairs(slice(cut, None)))

    def gather(state: Tensor, group: object = None) -> list[Tensor]:
        return [state, second.score_sum if state.is_floating_point() else second.total]

    first.sync(dist_sync_fn=gather, distributed_available=lambda: True)
    assert first.score_sum.item() == one.score_sum.item()
    assert first.total.item() == one.total.item() == len(problem.target)


@given(st.integers(0, 2**32 - 1), st.integers(1, 7))
def test_no_bit_hangs_on_the_order_of_pairs_nor_on_who_had_which(seed: int, size: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    ranked, target = torch.rand(2, 500, 2, generator=generator, dtype=torch.float64).sort(dim=-1).values
    one, shuffled = MeanIoU(), MeanIoU()
    one.update(ranked[:, None], target)
    for batch in torch.split(torch.randperm(500, generator=generator), size):
        shuffled.update(ranked[batch, None], target[batch])
    assert one.compute().item() == shuffled.compute().item()
    ious = [reference.iou(*pair) for pair in zip(ranked.numpy(), target.numpy(), strict=True)]
    assert one.compute().item() == pytest.approx(100 * math.fsum(ious) / 500, abs=100 * RESOLUTION)


class Holder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.metric = MeanIoU()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_the_state_stays_double_when_its_module_does_not(dtype: torch.dtype) -> None:
    holder = Holder()
    holder.metric.update(*THIRDS)
    exact = holder.metric.score_sum.item()
    for converted in (holder.to(dtype), holder.type(dtype), holder.half(), holder.bfloat16(), holder.float()):
        assert converted.metric.score_sum.dtype == torch.float64
        assert converted.metric.score_sum.item() == exact
        assert converted.metric.total.dtype == torch.int64
    assert holder.to(dtype).weight.dtype == dtype
    holder.metric.reset()
    assert holder.metric.score_sum.dtype == torch.float64
    with torch.autocast("cpu", dtype=torch.bfloat16):
        holder.metric.update(*THIRDS)
    assert holder.metric.compute().item() == pytest.approx(200 / 3, abs=100 * RESOLUTION)


def test_the_state_moves_with_its_module() -> None:
    holder = Holder().to("meta")
    assert holder.metric.score_sum.device.type == "meta"
    assert holder.metric.total.device.type == "meta"


def test_the_count_is_exact_where_a_float_is_not() -> None:
    metric = MeanIoU()
    metric.total = torch.tensor(2**53)
    metric.update(*THIRDS)
    assert metric.total.item() == 2**53 + 3


def test_before_the_first_pair_there_is_no_mean() -> None:
    with pytest.warns(UserWarning, match="before the ``update`` method"):
        assert MeanIoU().compute().isnan()


def test_reset_forgets() -> None:
    metric = MeanIoU()
    metric.update(*THIRDS)
    metric.reset()
    metric.update(torch.tensor([[[0.0, 1.0]]]), torch.tensor([[0.0, 1.0]]))
    assert metric.compute().item() == 100


def test_forward_gives_the_batch_and_keeps_the_sum() -> None:
    metric = MeanIoU()
    assert metric(torch.tensor([[[0.0, 1.0]]]), torch.tensor([[0.0, 1.0]])).item() == 100
    assert metric(torch.tensor([[[0.0, 1.0]]]), torch.tensor([[0.0, 2.0]])).item() == 50
    assert metric.compute().item() == 75
    assert metric.higher_is_better


def test_a_batch_without_pairs_changes_nothing() -> None:
    metric = MeanIoU()
    metric.update(*THIRDS)
    metric.update(torch.zeros(0, 1, 2), torch.zeros(0, 2))
    assert metric.compute().item() == pytest.approx(200 / 3)
