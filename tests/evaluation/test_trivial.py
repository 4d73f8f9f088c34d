"""Trivial predictors: the search against a loop, and their scores on the real corpora, measured by other code."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cpnet.data.cleaning import clean
from cpnet.data.times import times
from cpnet.evaluation.trivial import best_constants, predict_constant, trivial_rows
from cpnet.options import MetricsOptions
from data.readers.test_published_files import activitynet_captions, charades_sta, tacos_2dtan, tacos_tall
from evaluation import reference
from evaluation.problems import Problem, problems


def loop_constant(problem: Problem, threshold: float | None, steps: int) -> tuple[float, float]:
    best, answer = -math.inf, (math.nan, math.nan)
    _, target, duration = problem.arrays()
    for a in range(steps):
        for b in range(a + 1, steps + 1):
            ranked = predict_constant((a / steps, b / steps), duration)
            if threshold is None:
                score = reference.mean_iou(ranked, target)
            else:
                score = reference.recall(ranked, target, n=1, threshold=threshold)
            if score > best + 1e-7:
                best, answer = score, (a / steps, b / steps)
    return answer


@given(problems(), st.sampled_from([0.3, 0.5, 0.7]), st.integers(1, 8))
@settings(max_examples=40)
def test_best_constants_equal_the_loop(problem: Problem, threshold: float, steps: int) -> None:
    found = best_constants(*problem.arrays()[1:], thresholds=[threshold, None], steps=steps)
    assert found == [loop_constant(problem, each, steps) for each in (threshold, None)]


def test_best_constant_counts_the_pairs_of_all_chunks() -> None:
    target = np.tile([[0.0, 5.0], [0.0, 5.0], [2.0, 9.0]], (500, 1))
    duration = np.full(1500, 10.0)
    assert best_constants(target, duration, thresholds=[1.0], steps=10) == [(0.0, 0.5)]
    target[-1] = 7.0, 8.0  # would win if only the last chunk counted
    assert best_constants(target, duration, thresholds=[1.0], steps=10) == [(0.0, 0.5)]
    half = (np.array([[0.0, 5.0]]), np.array([10.0]))
    assert best_constants(*half, thresholds=[0.5], steps=4) == [(0.0, 0.25)]  # its IoU is 0.5
    assert best_constants(*half, thresholds=[0.5], steps=4, strict=True) == [(0.0, 0.5)]


# Span of each predictor, then R@1 at 0.3, 0.5 and 0.7 and mIoU on the test split; >=, ground truth clipped
MEASURED = """
charades_sta         test   0      1       35.00   0.43   0.00  27.13
charades_sta         test   0      0.3     40.30  30.65  15.16  28.07
charades_sta         test   0      0.475   49.27  26.80  10.86  30.43
activitynet_captions val_2  0      1       48.02  21.21  12.41  34.57
activitynet_captions val_2  0.3    0.95    48.19  29.06   7.31  30.17
activitynet_captions val_2  0      1       48.02  21.21  12.41  34.57
tacos_org            test   0      1        0.64   0.00   0.00   2.69
tacos_org            test   0.1    0.175    4.68   2.08   1.10   3.63
tacos_org            test   0.075  0.25     1.96   1.00   0.00   3.59
tacos_2dtan          test   0      1        5.90   1.55   0.77   8.76
tacos_2dtan          test   0.625  0.925    7.87   3.00   1.10   6.53
tacos_2dtan          test   0.1    0.9      7.40   2.42   1.10   9.24
"""


CORPORA = {
    "charades_sta": charades_sta,
    "activitynet_captions": activitynet_captions,
    "tacos_org": tacos_tall,
    "tacos_2dtan": tacos_2dtan,
}


@pytest.mark.parametrize("corpus", CORPORA)
def test_trivial_predictors_have_their_measured_scores(corpus: str) -> None:
    measured = [line.split()[1:] for line in MEASURED.splitlines() if line.startswith(f"{corpus} ")]
    test_split, expected = measured[0][0], [list(map(float, numbers)) for _, *numbers in measured]
    train, _ = clean(CORPORA[corpus]("train"), split="train", drop=True)
    test, _ = clean(CORPORA[corpus](test_split), split=test_split, drop=False)
    rows = trivial_rows(times(train), times(test), metrics=MetricsOptions(discounted=False))
    assert list(rows) == ["whole video", "best constant, R@1,IoU=0.5", "best constant, mIoU"]
    for row, (start, end, *scores) in zip(rows.values(), expected, strict=True):
        assert row.span == pytest.approx((start, end), abs=1e-9)
        rounded = [round(row.metrics[key], 2) for key in ("R1@0.3", "R1@0.5", "R1@0.7", "mIoU")]
        assert rounded == pytest.approx(scores, abs=0.001)
