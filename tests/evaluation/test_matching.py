"""Predictions beside moments: hand-computed cases; average precision against a slow second implementation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpnet.data.moment import Moment
from cpnet.evaluation.average_precision import average_precision
from cpnet.evaluation.matching import match
from evaluation import reference


def moment(qid: str, video: str = "v", query: str = "he runs", duration: float = 10.0) -> Moment:
    return Moment(qid=qid, video=video, query=query, windows_sec=((1.0, 2.0),), duration_sec=duration)


def test_pairs_are_found_by_qid_or_by_video_and_query() -> None:
    moments = [moment("1"), moment("2", "w.mp4", "she sits"), moment("3", "x")]
    found = match(moments, {"1": [(1.0, 2.0), (3.0, 4.0)], ("w", "she sits"): [(5.0, 6.0)], ("w", "he eats"): [(0, 1)]})
    assert found.ranked.tolist() == [[[1, 2], [3, 4]], [[5, 6], [0, 0]], [[0, 0], [0, 0]]]
    assert (found.missing, found.surplus) == (["3"], [("w", "he eats")])


def test_impossible_predictions_are_named() -> None:
    spans = {"reversed": (6.0, 5.0), "before": (-0.1, 5.0), "behind": (5.0, 10.1), "rounded": (0.0, 10.0005)}
    found = match([moment(qid) for qid in spans], {qid: [span] for qid, span in spans.items()})
    assert (found.reversed, found.outside) == (["reversed"], ["before", "behind"])


def test_times_are_rounded_to_a_multiple() -> None:
    found = match([moment("1", duration=5.5)], {"1": [(2.9, 5.1)]}, round_sec=2.0)
    assert (found.ranked.tolist(), found.outside) == ([[[2, 6]]], [])  # 6 s is due to the rounding


SPAN = st.tuples(st.integers(0, 8), st.integers(1, 6)).map(lambda each: (each[0], sum(each)))
SPANS = st.lists(SPAN, min_size=1, max_size=6)


@given(SPANS, SPANS, st.sampled_from([0.3, 0.5, 0.75]))
def test_average_precision_equals_the_definition(
    ranked: list[tuple[int, int]], windows: list[tuple[int, int]], threshold: float
) -> None:
    free, hits = list(range(len(windows))), []
    for span in ranked:
        overlaps = [reference.iou(np.array(span, float), np.array(windows[each], float)) for each in free]
        best = max(range(len(free)), key=overlaps.__getitem__, default=0)
        hits.append(bool(free) and reference.is_hit(overlaps[best], threshold, strict=False))
        if hits[-1]:
            del free[best]
    precisions = [sum(hits[: k + 1]) / (k + 1) for k in range(len(hits))]
    expected = sum(max(precisions[k:]) for k in range(len(hits)) if hits[k]) / len(windows)
    found = average_precision(np.array(ranked, float), np.array(windows, float), [threshold])
    assert found.tolist() == pytest.approx([expected])
