"""Oracles: counts and means in Python loops."""

from __future__ import annotations

import statistics

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.collections import QuadMesh
from matplotlib.patches import Rectangle

from cpnet.reporting.figures.corpus import (
    WORDS,
    count_moments,
    draw_moments,
    draw_queries,
    draw_words,
    query_numbers,
    score_words,
)


@settings(max_examples=20)
@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), max_size=20))
def test_moments_are_counted_by_start_and_length(places: list[tuple[int, int]]) -> None:
    spans = np.array([(start / 20, (start + length) / 20) for start, length in places]).reshape(-1, 2)
    expected = np.zeros((20, 20))
    for start, length in places:
        expected[min(start, 19), min(length, 19)] += 100 / len(places)
    np.testing.assert_allclose(count_moments(spans), expected)


def test_groups_get_a_panel_each_and_constants_a_mark() -> None:
    groups = {"train": np.array([[0.1, 0.3]] * 3), "$test$": np.array([[0.5, 0.6]]), "predicted": np.zeros((0, 2))}
    figure = draw_moments(groups, {"whole video": (0.0, 1.0), "best": (0.25, 0.75)})
    for axes, (name, spans) in zip(figure.axes, groups.items(), strict=False):
        assert axes.get_title() == f"{name}\n{len(spans)} spans"
        (mesh,) = (each for each in axes.collections if isinstance(each, QuadMesh))
        drawn = mesh.get_array()
        assert drawn is not None
        np.testing.assert_array_equal(np.nan_to_num(np.ma.getdata(drawn)), count_moments(spans).T)
        marks = [tuple(np.concatenate(line.get_data()).tolist()) for line in axes.lines[1:]]
        assert marks == [(0, 1), (0.25, 0.5)]


def test_query_lengths_of_both_splits_and_mean_iou() -> None:
    iou = np.linspace(0, 1, 12)
    records = query_numbers({"train": [3, 3, 5, 99], "test": [3] * 10 + [4, 99]}, "test", iou)
    assert [record["words"] for record in records] == [*range(3, 31)]
    assert [records[place]["train_per_cent"] for place in (0, 1, 2, 27)] == [50, 0, 25, 25]
    assert records[0]["mean_iou"] == pytest.approx(np.mean(iou[:10]))
    assert "mean_iou" not in records[3]
    left, right = draw_queries(records, ["train", "test"], "test").axes
    assert len(left.patches) == 2 * 28
    assert (right.lines[0].get_xdata(), right.get_ylim()) == ([3], (0, 100))  # 4 words: too few pairs


def test_words_are_ranked_by_mean_iou() -> None:
    rng = np.random.default_rng(0)
    words = [f"w{number}" for number in range(40)]
    queries = [[*rng.choice(words, 12).tolist(), "."] for _ in range(60)] + [["rare"]]
    iou = rng.random(61)
    scores = score_words(queries, iou)
    assert {score.word for score in scores} == {w for w in words if sum(w in query for query in queries) >= 10}
    for score in scores:
        mine = [value for query, value in zip(queries, iou.tolist(), strict=True) if score.word in query]
        assert score.pairs == len(mine)
        assert score.iou == pytest.approx(statistics.mean(mine))
        assert score.half == pytest.approx(1.96 * statistics.stdev(mine) / len(mine) ** 0.5)
    means = [score.iou for score in scores]
    assert means == sorted(means)
    (axes,) = draw_words(scores, 0.5).axes
    drawn = [*scores[:WORDS], *scores[-WORDS:]]
    widths = [bar.get_width() for bar in axes.patches if isinstance(bar, Rectangle)]
    assert widths == pytest.approx([100 * score.iou for score in drawn])
    assert [tick.get_text() for tick in axes.get_yticklabels()] == [f"{each.word} ({each.pairs})" for each in drawn]
    assert len(draw_words(scores[:5], 0.5).axes[0].patches) == 5
