"""Oracles: loops over annotators, with IoUs of the reference, on a fine grid of time for the majority."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cpnet.data.moment import Moment
from cpnet.evaluation.annotators import (
    Spans,
    majority,
    match_references,
    score_against_annotators,
    score_annotators,
)
from cpnet.options import MetricsOptions
from evaluation import reference

OPTIONS = MetricsOptions(recall_at=[1, 5], thresholds=[0.5])
ONE = st.tuples(st.integers(0, 18), st.integers(1, 6)).map(lambda pair: (float(pair[0]), float(sum(pair))))
SPANS = st.lists(ONE, min_size=1, max_size=2, unique=True).map(tuple)
MARKED = st.lists(SPANS, min_size=1, max_size=4)


def best(span: tuple[float, float], windows: Spans) -> float:
    return max(reference.iou(np.array(span), np.array(window)) for window in windows)


def parts(marked: list[Spans]) -> Spans:
    """Return the majority of spans with whole seconds, second by second."""
    kept = [
        second
        for second in range(30)
        if sum(any(start <= second < end for start, end in spans) for spans in marked) > len(marked) / 2
    ]
    starts = [second for second in kept if second - 1 not in kept]
    ends = [second + 1 for second in kept if second + 1 not in kept]
    return tuple((float(start), float(end)) for start, end in zip(starts, ends, strict=True))


def expected(span: tuple[float, float], marked: list[Spans]) -> dict[str, list[float]]:
    """Return mIoU and R@1,IoU=0.5 of a prediction by rule."""
    single = [best(span, spans) for spans in marked]
    top, agreed = max(single), [best(span, each) for each in [parts(marked)] if each] or [np.nan]
    hits = [float(each >= 0.5) for each in single]
    return {
        "best": [top, float(top >= 0.5)],
        "mean": [float(np.mean(single)), float(np.mean(hits))],
        "majority": [agreed[0], agreed[0] if np.isnan(agreed[0]) else float(agreed[0] >= 0.5)],
    }


@settings(max_examples=25)
@given(st.lists(st.tuples(ONE, MARKED), min_size=1, max_size=4))
def test_scores_equal_a_loop(pairs: list[tuple[tuple[float, float], list[Spans]]]) -> None:
    found = score_against_annotators(OPTIONS, np.array([span for span, _ in pairs]), [marked for _, marked in pairs])
    assert [*found] == ["best", "mean", "majority"]
    for rule, scores in found.items():
        assert set(scores) == {"R1@0.5", "mIoU"}
        numbers = np.stack([scores["mIoU"], scores["R1@0.5"]], axis=1)
        np.testing.assert_allclose(numbers, [expected(*pair)[rule] for pair in pairs])


@given(MARKED)
def test_majority_equals_a_count_of_seconds(marked: list[Spans]) -> None:
    assert majority(marked) == parts(marked)


@settings(max_examples=25)
@given(st.lists(MARKED, max_size=4))
def test_each_annotator_is_scored_against_the_others(pairs: list[list[Spans]]) -> None:
    found = score_annotators(OPTIONS, pairs)
    several = [marked for marked in pairs if len(marked) > 1]
    for rule in found:
        rows = []
        for marked in several:
            weighted = [
                (expected(span, marked[:place] + marked[place + 1 :])[rule], 1 / len(spans))
                for place, spans in enumerate(marked)
                for span in spans
            ]
            known = [(numbers, weight) for numbers, weight in weighted if not np.isnan(numbers[0])]
            total = sum(weight for _, weight in known)
            sums = [sum(numbers[each] * weight for numbers, weight in known) for each in (0, 1)]
            rows.append([each / total if known else np.nan for each in sums])
        numbers = np.stack([found[rule]["mIoU"], found[rule]["R1@0.5"]], axis=1)
        np.testing.assert_allclose(numbers, np.reshape(rows, (-1, 2)))


@pytest.mark.parametrize("clip", [True, False])
def test_references_are_matched_and_clipped(clip: bool) -> None:
    moments = [
        Moment(qid=str(place), video=video, query=query, windows_sec=((0.0, 1.0),), duration_sec=10.0)
        for place, (video, query) in enumerate([("a.mp4", "he runs"), ("b", "he runs"), ("c", "x"), ("a", "he runs")])
    ]
    read = {
        ("a", "he runs"): {"x": [(-1.0, 4.0), (5.0, 6.0)], "y": [(11.0, 12.0)], "z": [(12.0, 13.0)]},
        ("b", "he walks"): {"x": [(0.0, 1.0)]},
        ("c", "x"): {"y": [(10.0, 12.0)]},
    }
    found = match_references(moments, read, clip=clip)
    assert found.surplus == [("b", "he walks")]
    if clip:
        assert (found.places, found.marked) == ([0, 3], [[((0.0, 4.0), (5.0, 6.0))]] * 2)
        assert (found.outside, found.clipped) == ([("a", "he runs"), ("c", "x"), ("a", "he runs")], 2)
    else:
        assert found.places == [0, 2, 3]
        assert found.marked[0] == [((-1.0, 4.0), (5.0, 6.0)), ((11.0, 12.0),), ((12.0, 13.0),)]
        assert (found.outside, found.clipped) == ([], 0)
