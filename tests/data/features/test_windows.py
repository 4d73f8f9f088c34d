"""TALL's windows, a file a row; the oracle is the rows that were written."""

from __future__ import annotations

import logging
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from cpnet.data.features import open_features
from cpnet.errors import DataError
from packs import random, write_windows


def save(folder: Path, video: str, start: int, *, window: int = 64, row: object = (0.0, 0.0)) -> None:
    np.save(folder / f"{video}_{start}_{start + window}.npy", np.asarray(row, "f4"))


@given(starts=st.lists(st.integers(0, 10**9), min_size=1, max_size=12, unique=True), data=st.data())
def test_rows_are_sorted_by_the_number_of_their_start(starts: list[int], data: st.DataObject) -> None:
    with TemporaryDirectory() as name:
        for start in data.draw(st.permutations(starts)):
            save(Path(name), "a", start, row=(start % 4096, start // 4096))
        rows = open_features(layout="windows", path=Path(name)).rows("a")
    assert (rows[:, 0] + 4096 * rows[:, 1].astype(np.int64)).tolist() == sorted(starts)


def test_windows_of_one_length_are_read(tmp_path: Path) -> None:
    for window, start in ((64, 1), (64, 13), (128, 1), (256, 1), (128, 25), (128, 49)):
        save(tmp_path, "a", start, window=window, row=(window, start))
    np.testing.assert_array_equal(open_features(path=tmp_path).rows("a"), [[64, 1], [64, 13]])
    wider = open_features(path=tmp_path, window=128)
    np.testing.assert_array_equal(wider.rows("a"), [[128, 1], [128, 25], [128, 49]])
    assert "layout windows of 128 frames, 1 videos, 2 wide" in wider.describe()
    with pytest.raises(
        DataError,
        match=r"no window of 512 frames, VIDEO_START_END\.npy \(3 of 128 frames, 2 of 64 frames, 1 of 256 frames\); "
        r"set dataset\.features\.window",
    ):
        open_features(path=tmp_path, window=512)


def test_row_may_be_stored_as_a_matrix(tmp_path: Path) -> None:
    rows = random(3, 4)
    for i, shape in enumerate([(4,), (1, 4), (1, 1, 4)]):
        np.save(tmp_path / f"a_{1 + 12 * i}_{65 + 12 * i}.npy", rows[i].reshape(shape))
    source = open_features(path=tmp_path)
    assert source.dim == 4
    np.testing.assert_array_equal(source.rows("a"), rows)


@pytest.mark.parametrize(
    ("bad", "found"),
    [
        (np.zeros(5, "f4"), r"\(5,\) of float32"),
        (np.zeros((2, 2), "f4"), r"\(2, 2\) of float32"),
        (np.zeros((4, 1), "f4"), r"\(4, 1\) of float32"),
        (np.zeros((), "f4"), r"\(\) of float32"),
        (np.zeros(4, "i4"), r"\(4,\) of int32"),
        (np.zeros(4, "M8[s]"), r"\(4,\) of datetime64\[s\]"),
        (np.zeros(4, "U3"), r"\(4,\) of <U3"),
    ],
    ids=["width", "rows", "column", "number", "integers", "times", "text"],
)
def test_row_of_another_shape_is_named(tmp_path: Path, bad: NDArray[Any], found: str) -> None:
    write_windows(tmp_path, {"a": random(5, 4)})
    np.save(tmp_path / "a_25_89.npy", bad)
    source = open_features(path=tmp_path)
    with pytest.raises(DataError, match=rf"a_25_89\.npy has shape {found}, not one row of 4 floats; extract it again"):
        source.rows("a")


def test_uneven_windows_are_counted_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for video, starts in {"even": (1, 13, 25), "gap": (1, 13, 37), "other": (1, 17, 33), "odd": (1, 2, 4)}.items():
        for start in starts:
            save(tmp_path, video, start)
    with caplog.at_level(logging.WARNING):
        source = open_features(path=tmp_path)
    (record,) = caplog.records
    assert "2 of 4 videos" in record.message
    assert all(name in record.message for name in ("'gap'", "'odd'", str(tmp_path), "extract them again"))
    assert "'even'" not in record.message
    assert source.length("gap") == 3


def test_two_files_of_one_window_are_refused(tmp_path: Path) -> None:
    write_windows(tmp_path, {"a": random(2, 4)})
    np.save(tmp_path / "a_001_065.npy", random(4))
    with pytest.raises(DataError, match=r"'a_0*1_0*65\.npy' and 'a_0*1_0*65\.npy' are the same window; remove one"):
        open_features(path=tmp_path)
