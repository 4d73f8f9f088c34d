"""Trivial predictors: the search against a loop, and the table of the real corpora, measured apart from this code."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cpnet.data.cleaning import clean
from cpnet.data.moment import Moment
from cpnet.data.readers import read_activitynet_captions, read_charades_sta, read_tacos
from cpnet.metrics import best_constant, grounding_metrics, predict_constant, trivial_predictors
from metrics import reference
from metrics.problems import Problem, problems

DATA = Path(os.environ.get("CPNET_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
TACOS_FPS = 29.4


def loop_constant(problem: Problem, threshold: float | None, steps: int) -> tuple[float, float]:
    best, answer = -math.inf, (math.nan, math.nan)
    for a in range(steps):
        for b in range(a + 1, steps + 1):
            ranked = predict_constant((a / steps, b / steps), problem.duration).numpy()
            target = problem.target.numpy()
            if threshold is None:
                score = reference.mean_iou(ranked, target)
            else:
                score = reference.recall(ranked, target, n=1, threshold=threshold)
            if score > best + 1e-7:
                best, answer = score, (a / steps, b / steps)
    return answer


@given(problems(), st.sampled_from([None, 0.3, 0.5, 0.7]), st.integers(1, 8))
@settings(max_examples=40)
def test_the_best_constant_is_the_loop(problem: Problem, threshold: float | None, steps: int) -> None:
    found = best_constant(problem.target, problem.duration, threshold=threshold, steps=steps)
    assert found == loop_constant(problem, threshold, steps)


def test_many_pairs_are_searched_in_pieces() -> None:
    few = torch.tensor([[0.0, 5.0], [0.0, 5.0], [2.0, 9.0]])
    target, duration = few.repeat(500, 1), torch.full((1500,), 10.0)
    assert best_constant(target, duration, threshold=1.0, steps=10) == (0.0, 0.5)
    # Were only the last piece looked at, this pair would win.
    target[-1] = torch.tensor([7.0, 8.0])
    assert best_constant(target, duration, threshold=1.0, steps=10) == (0.0, 0.5)


def test_a_constant_is_a_share_of_each_duration() -> None:
    ranked = predict_constant((0.25, 0.75), torch.tensor([4.0, 8.0]))
    assert ranked.tolist() == [[[1.0, 3.0]], [[2.0, 6.0]]]


def test_nothing_to_fit_on_is_an_error() -> None:
    with pytest.raises(ValueError, match="got 0 pairs"):
        trivial_predictors(torch.zeros(0, 2), torch.zeros(0))


def test_wrong_settings_are_named() -> None:
    target, duration = torch.tensor([[0.0, 1.0]]), torch.tensor([2.0])
    with pytest.raises(ValueError, match="at least 1 step, got 0"):
        best_constant(target, duration, threshold=None, steps=0)
    with pytest.raises(ValueError, match=r"\(0, 1\], got 5"):
        best_constant(target, duration, threshold=5)
    with pytest.raises(ValueError, match=r"targets of 1 pairs must be \(1, 2\), got \(2,\)"):
        best_constant(target[0], duration, threshold=None)


def read(corpus: str, split: str) -> list[Moment]:
    folder = DATA / corpus
    if not folder.is_dir():
        pytest.skip(f"the annotations of {corpus} are not under {DATA}; set CPNET_TEST_DATA")
    if corpus == "charades_sta":
        return read_charades_sta(
            annotations=folder / f"charades_sta_{split}.txt", durations=folder / f"Charades_v1_{split}.csv"
        )
    if corpus == "activitynet_captions":
        return read_activitynet_captions(annotations=folder / f"{split}.json")
    return read_tacos(annotations=folder / f"{split}.json", fps=TACOS_FPS if corpus == "tacos_org" else None)


def tensors(moments: Sequence[Moment]) -> tuple[Tensor, Tensor]:
    rows = [(moment.start_sec, moment.end_sec, moment.duration_sec) for moment in moments]
    table = torch.tensor(rows, dtype=torch.float64)
    return table[:, :2], table[:, 2]


# corpus, its test split, then per predictor: span, R@1 at 0.3 / 0.5 / 0.7 and mIoU; >=, clipped ground truth.
Row = tuple[tuple[float, float], tuple[float, float, float, float]]
MEASURED: list[tuple[str, str, list[Row]]] = [
    (
        "charades_sta",
        "test",
        [
            ((0, 1), (35.00, 0.43, 0.00, 27.13)),
            ((0, 0.3), (40.30, 30.65, 15.16, 28.07)),
            ((0, 0.475), (49.27, 26.80, 10.86, 30.43)),
        ],
    ),
    (
        "activitynet_captions",
        "val_2",
        [
            ((0, 1), (48.02, 21.21, 12.41, 34.57)),
            ((0.3, 0.95), (48.19, 29.06, 7.31, 30.17)),
            ((0, 1), (48.02, 21.21, 12.41, 34.57)),
        ],
    ),
    (
        "tacos_org",
        "test",
        [
            ((0, 1), (0.64, 0.00, 0.00, 2.69)),
            ((0.1, 0.175), (4.68, 2.08, 1.10, 3.63)),
            ((0.075, 0.25), (1.96, 1.00, 0.00, 3.59)),
        ],
    ),
    (
        "tacos_2dtan",
        "test",
        [
            ((0, 1), (5.90, 1.55, 0.77, 8.76)),
            ((0.625, 0.925), (7.87, 3.00, 1.10, 6.53)),
            ((0.1, 0.9), (7.40, 2.42, 1.10, 9.24)),
        ],
    ),
]


@pytest.mark.parametrize(("corpus", "test_split", "rows"), MEASURED, ids=[corpus for corpus, _, _ in MEASURED])
def test_the_trivial_predictors_score_what_was_measured(corpus: str, test_split: str, rows: list[Row]) -> None:
    train, _ = clean(read(corpus, "train"), split="train", training=True)
    test, _ = clean(read(corpus, test_split), split=test_split, training=False)
    predictors = trivial_predictors(*tensors(train))
    target, duration = tensors(test)
    assert list(predictors) == ["whole video", "best constant, R@1,IoU=0.5", "best constant, mIoU"]
    for found, (span, expected) in zip(predictors.values(), rows, strict=True):
        metrics = grounding_metrics(discounted=False)
        metrics.update(predict_constant(found, duration), target, duration)
        scores = metrics.compute()
        assert found == pytest.approx(span, abs=1e-9)
        assert [round(scores[key].item(), 2) for key in ("R1@0.3", "R1@0.5", "R1@0.7", "mIoU")] == pytest.approx(
            expected, abs=0.001
        )
