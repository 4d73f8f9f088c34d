"""Tables and pictures of predictions against positions and colours worked out by hand, and against numpy."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib import colormaps
from PIL import Image, ImageColor

from cpnet.tracking.predictions import (
    BINS,
    COLUMNS,
    HEIGHT,
    PREDICTED,
    TRUE,
    VIDEO,
    WIDTH,
    cells,
    choose,
    choose_rows,
    draw_confusion,
    draw_timeline,
    length_confusion,
    read_rows,
)

RGB = {name: ImageColor.getrgb(name) for name in (VIDEO, TRUE, PREDICTED)}


def row(*, true: tuple[float, float], predicted: tuple[float, float], duration: float = 24.0) -> dict[str, Any]:
    return {
        "qid": "q",
        "video": "v",
        "query": "a door opens",
        "duration": duration,
        "true": list(true),
        "predicted": [list(predicted), [0.0, 1.0]],
        "iou": 0.12345,
    }


def write(folder: Path, rows: Iterable[dict[str, Any]]) -> Path:
    path = folder / "predictions.jsonl"
    with path.open("w", encoding="utf-8") as stream:
        stream.writelines(json.dumps(each, ensure_ascii=False) + "\n" for each in rows)
    return path


@given(st.lists(st.floats(0, 1), max_size=60), st.integers(0, 30))
def test_rows_are_taken_in_even_steps_of_their_rank(ious: list[float], most: int) -> None:
    taken = [ious[place] for place in choose(ious, most)]
    assert len(taken) == min(most, len(ious))
    if 2 <= most < len(ious):
        places = np.linspace(0, len(ious) - 1, most)
        ranked = np.sort(ious)
        assert taken == [ranked[round(place)] for place in places]


def test_a_single_row_is_the_median_one() -> None:
    assert choose([0.9, 0.1, 0.4], 1) == [2]


def test_rows_are_read_as_they_are_written(tmp_path: Path) -> None:
    rows = [row(true=(0.0, 1.0), predicted=(2.0, 3.0)) | {"query": "öffnet eine Tür"}] * 2
    assert list(read_rows(write(tmp_path, rows))) == rows


def test_the_rows_that_were_chosen_are_read_whole(tmp_path: Path) -> None:
    rows = [row(true=(0.0, 1.0), predicted=(2.0, 3.0)) | {"qid": str(iou), "iou": iou} for iou in (0.5, 0, 0.3, 1, 0.9)]
    assert [each["qid"] for each in choose_rows(write(tmp_path, rows), 3)] == ["0", "0.5", "1"]
    assert choose_rows(write(tmp_path, rows), 0) == []


def test_a_table_of_a_hundred_rows_takes_little_memory(tmp_path: Path) -> None:
    rows = (row(true=(0.0, 1.0), predicted=(2.0, 3.0)) | {"query": "a long one " * 50} for _ in range(10_000))
    path = write(tmp_path, rows)
    tracemalloc.start()
    try:
        assert len(choose_rows(path, 100)) == 100
        assert sum(map(sum, length_confusion(read_rows(path)))) == 10_000
        assert tracemalloc.get_traced_memory()[1] < path.stat().st_size / 4
    finally:
        tracemalloc.stop()


def test_cells_are_those_that_the_columns_name() -> None:
    made = dict(zip(COLUMNS, cells(row(true=(1.004, 2.006), predicted=(3.0, 4.0))), strict=False))
    assert made == {
        "query": "a door opens",
        "video": "v",
        "duration": 24.0,
        "true start": 1.0,
        "true end": 2.01,
        "predicted start": 3.0,
        "predicted end": 4.0,
        "IoU": 0.1235,
    }


def columns_of(picture: Image.Image, colour: str, *, half: int) -> list[int]:
    """Columns whose half, 0 the upper one, is of one colour from top to bottom."""
    pixels = np.asarray(picture)
    assert pixels.shape == (HEIGHT, WIDTH, 3)
    part = np.split(pixels, 2)[half]
    alike = (part == RGB[colour]).all(axis=2)
    assert (alike.all(axis=0) == alike.any(axis=0)).all()
    return [int(column) for column in np.flatnonzero(alike.all(axis=0))]


@pytest.mark.parametrize(
    ("span", "painted"),
    [  # 24 s on 240 pixels: 10 a second
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
def test_a_span_is_painted_where_it_lies(span: tuple[float, float], painted: range) -> None:
    other = (12.0, 18.0)
    for true, predicted, colour, half in ((span, other, TRUE, 0), (other, span, PREDICTED, 1)):
        picture = draw_timeline(row(true=true, predicted=predicted))
        assert columns_of(picture, colour, half=half) == [*painted]
        assert columns_of(picture, VIDEO, half=half) == [x for x in range(WIDTH) if x not in painted]


SHARES = st.integers(0, 1000).filter(lambda share: share % 200).map(lambda share: share / 1000)  # on no bin's border


@given(st.lists(st.tuples(SHARES, SHARES), max_size=30), st.floats(1, 500))
def test_lengths_are_counted_as_numpy_counts_them(shares: list[tuple[float, float]], duration: float) -> None:
    rows = [row(true=(0, t * duration), predicted=(0, p * duration), duration=duration) for t, p in shares]
    true, predicted = np.array(shares).reshape(-1, 2).T
    expected, _, _ = np.histogram2d(true, predicted, bins=5, range=[[0, 1], [0, 1]])
    assert length_confusion(rows) == expected.astype(int).tolist()


@pytest.mark.parametrize(
    ("span", "bin_"),
    [((3.0, 3.0), 0), ((9.0, 4.0), 0), ((4.0, 6.0), 1), ((0.1, 2.1), 1), ((0.0, 10.0), 4), ((0.0, 12.0), 4)],
)
def test_lengths_at_the_borders(span: tuple[float, float], bin_: int) -> None:
    (line,) = (line for line in length_confusion([row(true=(0, 1), predicted=span, duration=10)]) if any(line))
    assert line.index(1) == bin_


def test_the_picture_has_each_share_in_its_colour() -> None:
    picture = np.asarray(draw_confusion(np.diag([7] * len(BINS)).tolist()).convert("RGB"))
    least, most = (np.array(colormaps["cividis"](share, bytes=True))[:3] for share in (0.0, 1.0))
    ones, zeros = (int((picture == colour).all(axis=2).sum()) for colour in (most, least))
    # 5 cells of 25; the numbers in them and the bar beside them take some pixels
    assert ones > 1000
    assert zeros / ones == pytest.approx(4, rel=0.1)
