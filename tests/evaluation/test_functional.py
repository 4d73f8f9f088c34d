"""Scores of pairs against the loops of ``reference``, cases worked out by hand, and properties of the definitions."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from cpnet.evaluation.functional import best_iou, check_pairs, discounted_recall, meets, recall_at_iou
from evaluation import reference
from evaluation.problems import THRESHOLDS, Problem, problems

TARGET = torch.tensor([[2.0, 6.0]])


def ranked(*answers: tuple[float, float]) -> Tensor:
    return torch.tensor(answers).reshape(1, -1, 2)


@given(problems(), st.integers(1, 6), THRESHOLDS, st.booleans())
def test_scores_equal_the_reference(problem: Problem, n: int, threshold: float, strict: bool) -> None:
    predictions, target, duration = problem.arrays()
    hits = recall_at_iou(problem.ranked, problem.target, n=n, threshold=threshold, strict=strict)
    discounted = discounted_recall(*problem.pairs(slice(None)), n=n, threshold=threshold, strict=strict)
    iou = best_iou(problem.ranked, problem.target, n=1)
    assert [str(each.dtype) for each in (hits, discounted, iou)] == ["bool", "float64", "float64"]
    assert [100 * score.mean() for score in (hits, discounted, iou)] == pytest.approx(
        [
            reference.recall(predictions, target, n=n, threshold=threshold, strict=strict),
            reference.discounted_recall(predictions, target, duration, n=n, threshold=threshold, strict=strict),
            reference.mean_iou(predictions, target),
        ]
    )


@given(st.integers(1, 10_000), st.integers(1, 9), st.integers(0, 1000))
def test_tie_counts_unless_strict(tenths_long: int, tenths_found: int, offset: int) -> None:
    # The IoU is exactly tenths_found / 10 in real numbers; in floats the division may round either way.
    start, target_length = 0.1 * offset, 0.1 * tenths_long
    target = torch.tensor([[start, start + target_length]], dtype=torch.float64)
    found = torch.tensor([[[start, start + target_length * tenths_found / 10]]], dtype=torch.float64)
    threshold = tenths_found / 10
    assert recall_at_iou(found, target, n=1, threshold=threshold).item()
    assert not recall_at_iou(found, target, n=1, threshold=threshold, strict=True).item()


def test_tie_is_within_a_billionth() -> None:
    iou = 0.5 + torch.tensor([-2e-9, -5e-10, 5e-10, 2e-9], dtype=torch.float64)
    assert meets(iou, 0.5).tolist() == [False, True, True, True]
    assert meets(iou, 0.5, strict=True).tolist() == [False, False, False, True]


@pytest.mark.parametrize(
    "answers",
    [[(6.0, 9.0)], [(0.0, 1.0)], [(6.0, 2.0)], [(3.0, 3.0)], [(math.nan, math.nan)], []],
    ids=["adjacent", "disjoint", "reversed", "empty", "nan", "no prediction"],
)
def test_score_is_zero_without_overlap(answers: list[tuple[float, float]]) -> None:
    assert best_iou(ranked(*answers), TARGET, n=5).tolist() == [0]
    assert recall_at_iou(ranked(*answers), TARGET, n=5, threshold=0.01).tolist() == [False]
    assert discounted_recall(ranked(*answers), TARGET, torch.tensor([10.0]), n=5, threshold=0.01).tolist() == [0]


def test_highest_discount_among_the_hits_counts() -> None:
    # Hits: [2, 5] with discount 0.9, [2, 6] with 1; no hit: [5, 6].
    answers = ranked((2.0, 5.0), (2.0, 6.0), (5.0, 6.0))
    duration = torch.tensor([10.0])
    scores = [discounted_recall(answers, TARGET, duration, n=n, threshold=0.5).item() for n in (1, 2, 3)]
    assert scores == pytest.approx([0.9, 1.0, 1.0])
    assert discounted_recall(answers[:, 2:], TARGET, duration, n=1, threshold=0.5).item() == 0


def test_discount_is_zero_if_both_errors_exceed_the_video() -> None:
    # Errors of 1.1 and 1.1 videos: without the limit of 0 their factors would multiply to 0.01.
    score = discounted_recall(ranked((-9.0, 17.0)), TARGET, torch.tensor([10.0]), n=1, threshold=0.1)
    assert recall_at_iou(ranked((-9.0, 17.0)), TARGET, n=1, threshold=0.1).item()
    assert score.item() == 0


def test_half_precision_is_scored_in_double() -> None:
    # In float16 the IoU of these would round to 0.5.
    answers, target = ranked((0.0, 1023.0)).half(), torch.tensor([[0.0, 2048.0]]).half()
    assert best_iou(answers, target).item() == 1023 / 2048
    assert not recall_at_iou(answers, target, n=1, threshold=0.5).item()


@pytest.mark.parametrize(
    ("n", "threshold", "duration", "message"),
    [
        *((1, threshold, 9.0, rf"\(0, 1\], got {threshold}") for threshold in (0.0, -0.5, 1.5, 50.0, math.nan)),
        *((n, 0.5, 9.0, f"at least 1, got {n}") for n in (0, -1)),
        *((1, 0.5, duration, f"positive, got {duration}") for duration in (0.0, -3.0, math.nan)),
    ],
)
def test_error_names_invalid_argument(n: int, threshold: float, duration: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        discounted_recall(ranked((0.0, 1.0)), TARGET, torch.tensor([duration]), n=n, threshold=threshold)
    if duration > 0:
        with pytest.raises(ValueError, match=message):
            recall_at_iou(ranked((0.0, 1.0)), TARGET, n=n, threshold=threshold)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (((2, 2), (2, 2), (2,)), r"\(B, N, 2\), got \(2, 2\)"),
        (((2, 5, 3), (2, 2), (2,)), r"\(B, N, 2\), got \(2, 5, 3\)"),
        (((2, 5, 2), (1, 2), (2,)), r"targets of 2 pairs must be \(B, 2\) or \(B, K, 2\), got \(1, 2\)"),
        (((2, 5, 2), (2, 0, 2), (2,)), r"got \(2, 0, 2\)"),
        (((2, 5, 2), (2, 2), (2, 1)), r"durations of 2 pairs must be \(2,\), got \(2, 1\)"),
    ],
)
def test_error_names_wrong_shape(shapes: tuple[tuple[int, ...], ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_pairs(*(torch.ones(shape) for shape in shapes))
