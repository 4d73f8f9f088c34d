"""Pictures of predictions against positions and colours worked out by hand, and counts against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib import colormaps
from PIL import Image, ImageColor

from cpnet.reporting.figures.predictions import (
    BINS,
    HEIGHT,
    PREDICTED,
    TRUE,
    VIDEO,
    WIDTH,
    choose,
    count_lengths,
    draw_lengths,
    draw_timeline,
)

RGB = {name: ImageColor.getrgb(name) for name in (VIDEO, TRUE, PREDICTED)}


@given(st.lists(st.floats(0, 1), max_size=60), st.integers(0, 30))
def test_rows_are_chosen_at_even_steps_of_rank(ious: list[float], most: int) -> None:
    chosen = [ious[index] for index in choose(ious, most)]
    assert len(chosen) == min(most, len(ious))
    if 2 <= most < len(ious):
        ranked = np.sort(ious)
        assert chosen == [ranked[round(rank)] for rank in np.linspace(0, len(ious) - 1, most)]


def columns_of(picture: Image.Image, colour: str, *, half: int) -> list[int]:
    """Columns whose upper (0) or lower (1) half has one colour from top to bottom."""
    pixels = np.asarray(picture)
    assert pixels.shape == (HEIGHT, WIDTH, 3)
    part = np.split(pixels, 2)[half]
    alike = (part == RGB[colour]).all(axis=2)
    assert (alike.all(axis=0) == alike.any(axis=0)).all()
    return [int(column) for column in np.flatnonzero(alike.all(axis=0))]


@pytest.mark.parametrize(
    ("span_sec", "painted"),
    [  # 24 s on 240 pixels: 10 pixels a second
        ((6.0, 12.0), range(60, 120)),
        ((0.0, 24.0), range(240)),
        ((0.0, 0.0), range(2)),
        ((5.0, 5.04), range(50, 52)),
        ((24.0, 24.0), range(238, 240)),
        ((20.0, 30.0), range(200, 240)),
        ((-3.0, 1.0), range(10)),
        ((10.0, 5.0), range(100, 102)),
    ],
)
def test_timeline_paints_a_span_at_its_time(span_sec: tuple[float, float], painted: range) -> None:
    span, other = (span_sec[0] / 24, span_sec[1] / 24), (0.5, 0.75)
    for true, predicted, colour, half in ((span, other, TRUE, 0), (other, span, PREDICTED, 1)):
        picture = draw_timeline(true, predicted)
        assert columns_of(picture, colour, half=half) == [*painted]
        assert columns_of(picture, VIDEO, half=half) == [x for x in range(WIDTH) if x not in painted]


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
