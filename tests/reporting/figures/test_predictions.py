"""Pictures of predictions against positions and colours worked out by hand, and counts against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib import colormaps
from PIL import ImageColor

from cpnet.reporting.figures.predictions import (
    BINS,
    choose,
    count_lengths,
    draw_lengths,
    draw_timeline,
)
from cpnet.reporting.figures.style import BLUE, ORANGE


@given(st.lists(st.floats(0, 1), max_size=60), st.integers(0, 30))
def test_rows_are_chosen_at_even_steps_of_rank(ious: list[float], most: int) -> None:
    chosen = [ious[index] for index in choose(ious, most)]
    assert len(chosen) == min(most, len(ious))
    if 2 <= most < len(ious):
        ranked = np.sort(ious)
        assert chosen == [ranked[round(rank)] for rank in np.linspace(0, len(ious) - 1, most)]


def test_timeline_has_the_annotated_spans_in_blue_and_the_prediction_in_orange_below() -> None:
    true = [(2.0, 4.0), (6.0, 9.0)]
    picture = np.asarray(draw_timeline("she opens it", "kitchen", 10.0, true=true, predicted=(5.0, 9.0)).convert("RGB"))
    painted = [(picture == ImageColor.getrgb(colour)).all(axis=2) for colour in (BLUE, ORANGE)]
    (above, below) = (np.flatnonzero(each.sum(axis=1) > 20) for each in painted)
    (blue, orange) = (np.flatnonzero(each.sum(axis=0) > 5) for each in painted)
    assert above.max() < below.min()
    (gap,) = np.flatnonzero(np.diff(blue) > 1)
    second = (blue[gap + 1] - blue[0]) / 4
    assert len(blue) == pytest.approx(5 * second, abs=4)
    assert len(orange) == pytest.approx(4 * second, abs=3)
    assert (orange[0] - blue[0], orange[-1] - blue[-1]) == (pytest.approx(3 * second, abs=2), pytest.approx(0, abs=1))


SHARES = st.integers(0, 1000).filter(lambda share: share % 200).map(lambda share: share / 1000)  # no border of a bin


@given(st.lists(st.tuples(SHARES, SHARES), max_size=30))
def test_lengths_are_counted_as_by_numpy(shares: list[tuple[float, float]]) -> None:
    true, predicted = np.array(shares).reshape(-1, 2).T
    expected, _, _ = np.histogram2d(true, predicted, bins=5, range=[[0, 1], [0, 1]])
    assert count_lengths([((0.0, t), (0.0, p)) for t, p in shares]) == expected.astype(int).tolist()


@pytest.mark.parametrize(
    ("span_sec", "expected"),
    [((3.0, 3.0), 0), ((9.0, 4.0), 0), ((4.0, 6.0), 1), ((0.1, 2.1), 1), ((0.0, 10.0), 4), ((0.0, 12.0), 4)],
)
def test_length_on_a_border_counts_in_the_upper_bin(span_sec: tuple[float, float], expected: int) -> None:
    (line, *_) = count_lengths([((0.0, 0.1), (span_sec[0] / 10, span_sec[1] / 10))])
    assert line == [int(column == expected) for column in range(5)]


def test_matrix_colours_each_share() -> None:
    picture = np.asarray(draw_lengths(np.diag([7] * len(BINS)).tolist()).convert("RGB"))
    least, most = (np.array(colormaps["cividis"](share, bytes=True))[:3] for share in (0.0, 1.0))
    ones, zeros = (int((picture == colour).all(axis=2).sum()) for colour in (most, least))
    # 5 cells of 25; their numbers and the colour bar take some pixels
    assert ones > 1000
    assert zeros / ones == pytest.approx(4, rel=0.1)
