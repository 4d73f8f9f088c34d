"""The stateful recalls against the loops of ``reference``."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cpnet.metrics import DiscountedRecallAtIoU, RecallAtIoU
from metrics import reference
from metrics.problems import THRESHOLDS, Problem, problems

RECALLS = st.sampled_from([RecallAtIoU, DiscountedRecallAtIoU])


@given(problems(), st.integers(1, 6), THRESHOLDS, st.booleans())
def test_the_value_is_the_loop(problem: Problem, n: int, threshold: float, strict: bool) -> None:
    plain = RecallAtIoU(n=n, threshold=threshold, strict=strict)
    discounted = DiscountedRecallAtIoU(n=n, threshold=threshold, strict=strict)
    ranked, target, duration = problem.arrays()
    for metric, expected in (
        (plain, reference.recall(ranked, target, n=n, threshold=threshold, strict=strict)),
        (discounted, reference.discounted_recall(ranked, target, duration, n=n, threshold=threshold, strict=strict)),
    ):
        metric.update(*problem.pairs(slice(None)))
        value = metric.compute()
        assert value.dtype == torch.float64
        assert value.item() == pytest.approx(expected)
        assert 0 <= value.item() <= 100


@given(problems(), RECALLS, THRESHOLDS, st.data())
def test_order_and_batches_do_not_matter(
    problem: Problem, recall: type[RecallAtIoU], threshold: float, data: st.DataObject
) -> None:
    whole, pieces = recall(n=2, threshold=threshold), recall(n=2, threshold=threshold)
    whole.update(*problem.pairs(slice(None)))
    pairs = len(problem.target)
    order = data.draw(st.permutations(range(pairs)))
    cut = data.draw(st.integers(0, pairs))
    pieces.update(*problem.pairs(list(order[:cut])))
    pieces.update(*problem.pairs(list(order[cut:])))
    assert pieces.compute().item() == pytest.approx(whole.compute().item(), abs=1e-12)


def test_plain_recall_needs_no_durations_and_discounted_does() -> None:
    ranked, target = torch.tensor([[[0.0, 1.0]]]), torch.tensor([[0.0, 1.0]])
    plain = RecallAtIoU()
    plain.update(ranked, target)
    assert plain.compute().item() == 100
    with pytest.raises(ValueError, match=r"duration_sec must be \(B,\), got None"):
        DiscountedRecallAtIoU().update(ranked, target)


@pytest.mark.parametrize("recall", [RecallAtIoU, DiscountedRecallAtIoU])
def test_settings_are_checked_at_once(recall: type[RecallAtIoU]) -> None:
    with pytest.raises(ValueError, match="at least 1, got 0"):
        recall(n=0)
    with pytest.raises(ValueError, match=r"\(0, 1\], got 50"):
        recall(threshold=50)
