"""Oracles: the loops of ``reference``, cases by hand, and properties of the definitions."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from cpnet.metrics.functional import best_iou, check_pairs, discounted_recall, meets, recall_at_iou
from metrics import reference
from metrics.problems import THRESHOLDS, Problem, problems

TARGET = torch.tensor([[2.0, 6.0]])


def ranked(*answers: tuple[float, float]) -> Tensor:
    return torch.tensor(answers).reshape(1, -1, 2)


@given(problems(), st.integers(1, 6), THRESHOLDS, st.booleans())
def test_recall_is_the_loop(problem: Problem, n: int, threshold: float, strict: bool) -> None:
    hits = recall_at_iou(problem.ranked, problem.target, n=n, threshold=threshold, strict=strict)
    predictions, target, _ = problem.arrays()
    expected = reference.recall(predictions, target, n=n, threshold=threshold, strict=strict)
    assert hits.dtype == torch.bool
    assert 100 * hits.double().mean().item() == pytest.approx(expected)


@given(problems(), st.integers(1, 6), THRESHOLDS, st.booleans())
def test_discounted_recall_is_the_loop(problem: Problem, n: int, threshold: float, strict: bool) -> None:
    score = discounted_recall(*problem.pairs(slice(None)), n=n, threshold=threshold, strict=strict)
    expected = reference.discounted_recall(*problem.arrays(), n=n, threshold=threshold, strict=strict)
    assert score.dtype == torch.float64
    assert 100 * score.mean().item() == pytest.approx(expected)


@given(problems())
def test_best_iou_of_the_first_is_the_loop(problem: Problem) -> None:
    predictions, target, _ = problem.arrays()
    score = best_iou(problem.ranked, problem.target, n=1)
    assert 100 * score.mean().item() == pytest.approx(reference.mean_iou(predictions, target))


@given(problems(), st.integers(1, 5), THRESHOLDS, st.booleans())
def test_scores_grow_with_n(problem: Problem, n: int, threshold: float, strict: bool) -> None:
    args = problem.pairs(slice(None))
    assert (best_iou(*args[:2], n=n) <= best_iou(*args[:2], n=n + 1)).all()
    few, more = (discounted_recall(*args, n=k, threshold=threshold, strict=strict) for k in (n, n + 1))
    assert (few <= more).all()


@given(problems(), st.integers(1, 5), THRESHOLDS)
def test_discounted_lies_between_nothing_and_the_hit(problem: Problem, n: int, threshold: float) -> None:
    score = discounted_recall(*problem.pairs(slice(None)), n=n, threshold=threshold)
    hit = recall_at_iou(problem.ranked, problem.target, n=n, threshold=threshold)
    assert ((score >= 0) & (score <= hit)).all()


@given(problems(min_predictions=1), THRESHOLDS)
def test_more_than_the_predictions_uses_those_there_are(problem: Problem, threshold: float) -> None:
    there_are = problem.ranked.shape[1]
    hits = [recall_at_iou(problem.ranked, problem.target, n=n, threshold=threshold) for n in (there_are, there_are + 9)]
    assert torch.equal(*hits)


@given(st.integers(1, 10_000), st.integers(1, 9), st.integers(0, 1000))
def test_a_tie_counts_and_not_when_strict(tenths_long: int, tenths_found: int, offset: int) -> None:
    # IoU is exactly tenths_found / 10 in the reals; in floats it is whatever the division gives.
    start, target_length = 0.1 * offset, 0.1 * tenths_long
    target = torch.tensor([[start, start + target_length]], dtype=torch.float64)
    found = torch.tensor([[[start, start + target_length * tenths_found / 10]]], dtype=torch.float64)
    threshold = tenths_found / 10
    assert recall_at_iou(found, target, n=1, threshold=threshold).item()
    assert not recall_at_iou(found, target, n=1, threshold=threshold, strict=True).item()


def test_meets_is_blind_within_a_billionth_only() -> None:
    iou = 0.5 + torch.tensor([-2e-9, -5e-10, 5e-10, 2e-9], dtype=torch.float64)
    assert meets(iou, 0.5).tolist() == [False, True, True, True]
    assert meets(iou, 0.5, strict=True).tolist() == [False, False, False, True]


@pytest.mark.parametrize("answer", [(6.0, 9.0), (0.0, 1.0), (6.0, 2.0), (3.0, 3.0), (math.nan, math.nan)])
def test_disjoint_reversed_empty_and_nan_score_nothing(answer: tuple[float, float]) -> None:
    assert best_iou(ranked(answer), TARGET).item() == 0
    assert not recall_at_iou(ranked(answer), TARGET, n=1, threshold=0.01).item()
    assert discounted_recall(ranked(answer), TARGET, torch.tensor([10.0]), n=1, threshold=0.01).item() == 0


def test_no_predictions_score_nothing() -> None:
    assert best_iou(ranked(), TARGET, n=5).tolist() == [0]
    assert recall_at_iou(ranked(), TARGET, n=5, threshold=0.1).tolist() == [False]


def test_the_best_discount_among_the_hits_counts() -> None:
    # Hits: [2, 5] with discount 0.9, [2, 6] with 1; no hit: [5, 6].
    answers = ranked((2.0, 5.0), (2.0, 6.0), (5.0, 6.0))
    duration = torch.tensor([10.0])
    scores = [discounted_recall(answers, TARGET, duration, n=n, threshold=0.5).item() for n in (1, 2, 3)]
    assert scores == pytest.approx([0.9, 1.0, 1.0])
    assert discounted_recall(answers[:, 2:], TARGET, duration, n=1, threshold=0.5).item() == 0


def test_half_precision_is_scored_in_double() -> None:
    # In float16 the IoU of these would round to 0.5.
    answers, target = ranked((0.0, 1023.0)).half(), torch.tensor([[0.0, 2048.0]]).half()
    assert best_iou(answers, target).item() == 1023 / 2048
    assert not recall_at_iou(answers, target, n=1, threshold=0.5).item()


@pytest.mark.parametrize("threshold", [0.0, -0.5, 1.5, 50.0, math.nan])
def test_a_threshold_outside_0_to_1_is_named(threshold: float) -> None:
    with pytest.raises(ValueError, match=rf"\(0, 1\], got {threshold}"):
        recall_at_iou(ranked((0.0, 1.0)), TARGET, n=1, threshold=threshold)
    with pytest.raises(ValueError, match=rf"\(0, 1\], got {threshold}"):
        discounted_recall(ranked((0.0, 1.0)), TARGET, torch.tensor([9.0]), n=1, threshold=threshold)


@pytest.mark.parametrize("n", [0, -1])
def test_an_n_below_1_is_named(n: int) -> None:
    with pytest.raises(ValueError, match=f"at least 1, got {n}"):
        best_iou(ranked((0.0, 1.0)), TARGET, n=n)
    with pytest.raises(ValueError, match=f"at least 1, got {n}"):
        recall_at_iou(ranked((0.0, 1.0)), TARGET, n=n, threshold=0.5)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (((2, 2), (2, 2), (2,)), r"\(B, N, 2\), got \(2, 2\)"),
        (((2, 5, 3), (2, 2), (2,)), r"\(B, N, 2\), got \(2, 5, 3\)"),
        (((2, 5, 2), (1, 2), (2,)), r"targets of 2 pairs must be \(2, 2\), got \(1, 2\)"),
        (((2, 5, 2), (2, 5, 2), (2,)), r"got \(2, 5, 2\)"),
        (((2, 5, 2), (2, 2), (2, 1)), r"durations of 2 pairs must be \(2,\), got \(2, 1\)"),
    ],
)
def test_wrong_shapes_are_named(shapes: tuple[tuple[int, ...], ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_pairs(*(torch.ones(shape) for shape in shapes))


@pytest.mark.parametrize("duration", [0.0, -3.0, math.nan])
def test_a_duration_that_is_not_positive_is_named(duration: float) -> None:
    with pytest.raises(ValueError, match=f"positive, got {duration}"):
        discounted_recall(ranked((0.0, 1.0)), TARGET, torch.tensor([duration]), n=1, threshold=0.5)
