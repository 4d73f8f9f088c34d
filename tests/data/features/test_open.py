"""Behaviour that all layouts share; the oracle is the array that was written."""

from __future__ import annotations

import multiprocessing
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cpnet.data.features import FeatureSource, check_coverage, open_features
from cpnet.data.moment import DataError
from packs import ROW_WRITERS, WRITERS, Writer, random, write_npy


@pytest.fixture(params=WRITERS)
def write(request: pytest.FixtureRequest) -> Writer:
    """Layouts that keep an array of any shape."""
    return WRITERS[request.param]


@pytest.fixture(params=ROW_WRITERS)
def write_rows(request: pytest.FixtureRequest) -> Writer:
    """All layouts, of which TALL's windows keep rows only."""
    return ROW_WRITERS[request.param]


def test_rows_are_the_stored_ones(write_rows: Writer, tmp_path: Path) -> None:
    arrays = {"b": random(5, 4), "a": random(3, 4, dtype="float16"), "c": random(2, 4, dtype=">f8")}
    source = open_features(path=write_rows(tmp_path, arrays), layout="auto", dim=4)
    assert list(source.ids()) == ["a", "b", "c"]
    assert (source.dim, len(source)) == (4, 3)
    for name, array in arrays.items():
        rows = source.rows(name)
        np.testing.assert_array_equal(rows, array.astype(rows.dtype))
        assert rows.dtype == (np.float16 if name == "a" else np.float32)
        assert source.length(name) == len(array)
    source.close()
    np.testing.assert_array_equal(source.rows("b"), arrays["b"])


def test_singleton_dimensions_are_squeezed_but_a_single_row_stays(write: Writer, tmp_path: Path) -> None:
    arrays = {"long": random(6, 1, 1, 4), "one": random(1, 1, 1, 4)}
    source = open_features(path=write(tmp_path, arrays), layout="auto")
    assert source.dim == 4
    np.testing.assert_array_equal(source.rows("long"), arrays["long"][:, 0, 0])
    assert source.rows("one").shape == (1, 4)


def test_any_spelling_of_an_id_matches(write_rows: Writer, tmp_path: Path) -> None:
    arrays = {"v_QOlSCBRmfWY": random(2, 3), "s30-d52.avi": random(4, 3), "00607": random(1, 3)}
    source = open_features(path=write_rows(tmp_path, arrays), layout="auto")
    assert set(source.ids()) == set(arrays)
    assert "QOlSCBRmfWY" in source
    assert source.length("QOlSCBRmfWY") == 2
    assert source.length("s30-d52-cam-002") == 4
    assert "607" not in source
    assert source.missing(["x", "00607", "y", "x"]) == ["x", "y"]


def test_two_spellings_of_one_video_are_refused(write_rows: Writer, tmp_path: Path) -> None:
    path = write_rows(tmp_path, {"s30-d52.avi": random(2, 3), "s30-d52": random(2, 3)})
    with pytest.raises(DataError, match=r"'s30-d52' and 's30-d52\.avi'"):
        open_features(path=path, layout="auto")


def test_coverage_counts_distinct_videos_and_names_ten(write_rows: Writer, tmp_path: Path) -> None:
    source = open_features(path=write_rows(tmp_path, {"here": random(2, 3)}), layout="auto")
    check_coverage(source, split="test", videos=["here", "here"])
    absent = [f"gone{i:02}" for i in range(12)]
    with pytest.raises(
        DataError, match=r"12 of 13 videos of split test .*'gone09', \.\.\..*dataset\.features\.path"
    ) as caught:
        check_coverage(source, split="test", videos=["here", *absent, *absent])
    assert "gone10" not in str(caught.value)
    assert str(source.path) in str(caught.value)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((0, 3), "f4"), "'bad' are empty"),
        (np.zeros((4, 5), "f4"), "'bad' are 5 wide, not 3; .*dataset.features.dim=5"),
        (np.zeros((4, 2, 3), "f4"), r"'bad' have shape \(4, 2, 3\)"),
        (np.zeros(3, "f4"), r"'bad' have shape \(3,\)"),
        (np.zeros((4, 3), "i4"), "'bad' are int32, not floats"),
        (
            np.array([[0, 0, 0], [0, np.nan, 0], [np.inf, 0, 0]], "f4"),
            "'bad' hold NaN or infinity in 2 of 3 rows, .* row 1",
        ),
        (np.full((1, 3), 1e300), "'bad' hold NaN or infinity"),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
def test_a_defect_names_its_video(write: Writer, tmp_path: Path, array: NDArray[Any], message: str) -> None:
    source = open_features(path=write(tmp_path, {"a": random(2, 3), "bad": array}), layout="auto")
    assert source.length("a") == 2
    with pytest.raises(DataError, match=message):
        source.rows("bad")


def test_an_unexpected_width_is_refused_on_opening(write_rows: Writer, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"4 wide, not 1024; .*dataset\.features\.dim=4 \(model\.video_dim"):
        open_features(path=write_rows(tmp_path, {"a": random(2, 4)}), layout="auto", dim=1024)


def test_an_absent_video_is_named(write_rows: Writer, tmp_path: Path) -> None:
    source = open_features(path=write_rows(tmp_path, {"a": random(2, 4)}), layout="auto")
    for read in (source.rows, source.length):
        with pytest.raises(DataError, match=r"no features of video 'b' .*'a'"):
            read("b")


def test_a_wrong_path_or_layout_says_what_is_there(tmp_path: Path) -> None:
    write_npy(tmp_path, {"a": random(2, 4), "b": random(2, 4)})
    with pytest.raises(DataError, match=r"no feature pack at .*nowhere; set dataset\.features\.path"):
        open_features(path=tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"layout=lmdb is none of auto, hdf5, .*a folder of 2 \.npy"):
        open_features(path=tmp_path, layout="lmdb")
    with pytest.raises(DataError, match=r"holds 2 \.npy\. .*dataset\.features\.layout=npy"):
        open_features(path=tmp_path, layout="hdf5")
    with pytest.raises(DataError, match=r"set dataset\.features\.key=null"):
        open_features(path=tmp_path, layout="npy", key="rgb")


def read_in_child(source: FeatureSource, results: Any) -> None:
    results.put((os.getpid(), source.rows("a")))


def check_in_child(source: FeatureSource, method: str, expected: NDArray[Any]) -> None:
    context: Any = multiprocessing.get_context(method)
    results = context.Queue()
    child = context.Process(target=read_in_child, args=(source, results))
    child.start()
    pid, rows = results.get(timeout=60)
    child.join()
    assert child.exitcode == 0
    assert pid != os.getpid()
    np.testing.assert_array_equal(rows, expected)
    np.testing.assert_array_equal(source.rows("a"), expected)


@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
def test_a_source_in_use_survives_a_fork(write_rows: Writer, tmp_path: Path) -> None:
    arrays = {"a": random(300, 40), "b": random(50, 40)}
    source = open_features(path=write_rows(tmp_path, arrays), layout="auto")
    source.rows("b")
    check_in_child(source, "fork", arrays["a"])


@pytest.mark.parametrize("layout", ["npy", "hdf5_group"])  # each child imports torch anew, which takes seconds
def test_a_source_in_use_goes_to_a_new_process(tmp_path: Path, layout: str) -> None:
    arrays = {"a": random(300, 40), "b": random(50, 40)}
    source = open_features(path=WRITERS[layout](tmp_path, arrays), layout="auto")
    source.rows("b")
    check_in_child(source, "spawn", arrays["a"])


def test_a_pickle_holds_no_handle(write_rows: Writer, tmp_path: Path) -> None:
    source = open_features(path=write_rows(tmp_path, {"a": random(2, 4)}), layout="auto")
    rows = source.rows("a")
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(source)).rows("a"), rows)
