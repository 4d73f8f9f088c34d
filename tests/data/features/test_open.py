"""Behaviour that all layouts share, and recognition of layouts; the oracle is the array that was written."""

from __future__ import annotations

import os
import pickle
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from cpnet.data.features import FeatureSource, open_features, split_by_features
from cpnet.data.moment import Moment
from cpnet.errors import DataError
from packs import ROW_WRITERS, WRITERS, Writer, random, write_flat, write_npy

ARRAYS = {"a": random(2, 4), "b": random(3, 4), "c": random(1, 4)}
DESCRIBED = {
    "npy": "layout npy, 3 videos, 4 wide",
    "npz": "layout npz, key the only one, 3 videos, 4 wide",
    "pt": "layout pt, 3 videos, 4 wide",
    "hdf5_flat": "layout hdf5_flat, 3 videos, 4 wide",
    "hdf5_group": "layout hdf5_group, key features, 3 videos, 4 wide",
    "windows": "layout windows of 64 frames, 3 videos, 4 wide",
}


@pytest.fixture(params=WRITERS)
def write(request: pytest.FixtureRequest) -> Writer:
    """Layouts that keep an array of any shape."""
    return WRITERS[request.param]


@pytest.fixture(params=ROW_WRITERS)
def write_rows(request: pytest.FixtureRequest) -> Writer:
    """All layouts, of which TALL's windows keep rows only."""
    return ROW_WRITERS[request.param]


def refused(path: object, message: str, **how: Any) -> None:
    with pytest.raises(DataError, match=message):
        open_features(path=path, **how)


def test_rows_equal_the_stored_ones(write_rows: Writer, tmp_path: Path) -> None:
    arrays = {"b": random(5, 4), "a": random(3, 4, dtype="float16"), "c": random(2, 4, dtype=">f8")}
    source = open_features(path=write_rows(tmp_path, arrays), layout="auto", dim=4)
    assert list(source.ids()) == ["a", "b", "c"]
    assert (source.dim, len(source)) == (4, 3)
    for name, array in arrays.items():
        rows = source.rows(name)
        np.testing.assert_array_equal(rows, array.astype(rows.dtype))
        assert rows.dtype == (np.float16 if name == "a" else np.float32)
        assert source.length(name) == len(array)


def test_ids_match_in_any_spelling(write_rows: Writer, tmp_path: Path) -> None:
    arrays = {"v_QOlSCBRmfWY": random(2, 3), "s30-d52.avi": random(4, 3), "00607": random(1, 3)}
    source = open_features(path=write_rows(tmp_path, arrays), layout="auto")
    assert set(source.ids()) == set(arrays)
    assert "QOlSCBRmfWY" in source
    assert source.length("QOlSCBRmfWY") == 2
    assert source.length("s30-d52-cam-002") == 4
    assert "607" not in source
    assert source.missing(["x", "00607", "y", "x"]) == ["x", "y"]
    for read in (source.rows, source.length):
        with pytest.raises(DataError, match=r"no features of video 'x' .*ids look like '00607'"):
            read("x")


def check_coverage(source: FeatureSource, videos: list[str]) -> None:
    moments = [Moment(qid="", video=video, query="", windows_sec=(), duration_sec=1.0) for video in videos]
    split_by_features(source, {"test": moments}, on_missing="error")


def test_id_in_another_case_matches_the_only_one_left(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    names = ["video_2", "v_abcdefghijk.MOV", "Twin", "twin"]
    source = open_features(path=write_flat(tmp_path, {name: random(1, 4) for name in names}))
    assert source.missing(["VIDEO_2", "video_2.mp4", "Video_2.3GP"]) == []
    np.testing.assert_array_equal(source.rows("VIDEO_2"), source.rows("video_2"))
    assert source.find("V_ABCDEFGHIJK.avi") == "v_abcdefghijk.MOV"
    assert (source.find("twin"), source.find("Twin"), source.find("TWIN")) == ("twin", "Twin", None)
    check_coverage(source, ["twin", "VIDEO_2", "Twin"])
    assert caplog.messages == ["features: 1 videos of split test match in another case: 'VIDEO_2'"]


def test_coverage_error_counts_distinct_videos_and_names_ten(tmp_path: Path) -> None:
    source = open_features(path=write_npy(tmp_path, {"here": random(2, 3)}))
    check_coverage(source, ["here", "here"])
    absent = [f"gone{i:02}" for i in range(12)]
    with pytest.raises(
        DataError, match=r"12 of 13 videos of split test .*'gone09', \.\.\..*dataset\.features\.path"
    ) as caught:
        check_coverage(source, ["here", *absent, *absent])
    assert "gone10" not in str(caught.value)
    assert "dataset.on_missing=drop" in str(caught.value)
    with pytest.raises(DataError, match=r"12 of 12 .*set dataset\.features\.path to a pack with all of them$"):
        check_coverage(source, absent)  # nothing would be left
    assert str(source.path) in str(caught.value)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((0, 3), "f4"), r"'bad' are empty, shape \(0, 3\); extract them again"),
        (np.zeros((4, 0), "f4"), "'bad' are empty"),
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
def test_error_names_the_defective_video(write: Writer, tmp_path: Path, array: NDArray[Any], message: str) -> None:
    source = open_features(path=write(tmp_path, {"a": random(2, 3), "bad": array}), layout="auto")
    assert source.length("a") == 2
    with pytest.raises(DataError, match=message):
        source.rows("bad")
    np.testing.assert_array_equal(source.rows("a"), random(2, 3))


def test_unexpected_width_is_refused_on_opening(write_rows: Writer, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"4 wide, not 1024; .*dataset\.features\.dim=4 \(model\.video_dim"):
        open_features(path=write_rows(tmp_path, {"a": random(2, 4)}), layout="auto", dim=1024)


@pytest.mark.parametrize(
    ("shape", "order", "transpose"),
    [
        ((1, 5, 4), "nv", False),
        ((5, 1, 1, 4), "nv", False),
        ((1, 1, 1, 4), "nv", False),
        ((1, 5, 1, 4), "nv", False),
        ((5, 4, 1, 1), "nv", False),
        ((1, 5, 4, 1), "nv", False),
        ((1, 4, 5, 1, 1), "vn", False),
        ((1, 4, 5, 1, 1), "vn", True),
        ((4, 5), "vn", True),
        ((1, 4, 5), "vn", True),
        ((1, 4, 1, 1, 1), "vn", True),
        ((4, 1), "vn", True),
    ],
)
def test_axes_of_rows_and_columns_are_found(
    write: Writer, tmp_path: Path, shape: tuple[int, ...], order: str, transpose: bool
) -> None:
    rows = random(int(np.prod(shape)) // 4, 4)
    path = write(tmp_path, {"a": (rows if order == "nv" else rows.T).reshape(shape)})
    source = open_features(path=path, dim=4, transpose=transpose)
    np.testing.assert_array_equal(source.rows("a"), rows)
    assert source.length("a") == len(rows)


@pytest.mark.parametrize(
    ("shape", "how", "message"),
    [
        ((4, 64), {"dim": 4}, r"64 wide, not 4; set dataset\.features\.transpose=true, because they have 4 rows"),
        ((4, 64), {"dim": 64, "transpose": True}, r"4 wide, not 64; .*transpose=false, because they have 64 rows"),
        ((4, 64), {"dim": 9}, r"if 4 is the width, dataset\.features\.transpose=true, else dataset\.features\.dim=64"),
        ((5, 10, 4), {}, r"\(5, 10, 4\), not \(N, V\); average the axis of crops, or take one"),
    ],
)
def test_error_of_other_axes_names_the_way_out(
    tmp_path: Path, shape: tuple[int, ...], how: dict[str, Any], message: str
) -> None:
    refused(write_npy(tmp_path, {"a": random(*shape)}), message, **how)


# Several paths


def test_several_paths_are_one_pack(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    paths = [write_npy(tmp_path / "train", {"a": random(2, 4)}), write_flat(tmp_path, {"b": random(3, 4)})]
    source = open_features(path=paths, dim=4)
    assert (list(source.ids()), source.layout) == (["a", "b"], "npy and hdf5_flat")
    np.testing.assert_array_equal(source.rows("a"), random(2, 4))
    np.testing.assert_array_equal(source.rows("b"), random(3, 4))
    assert source.stamp() != open_features(path=paths[:1]).stamp()
    assert source.describe() == f"{paths[0]}, {paths[1]} (layout npy and hdf5_flat, 2 videos, 4 wide)"
    (tmp_path / "more").mkdir()
    more = [*paths, write_npy(tmp_path / "more", {"v": random(2, 5)})]
    refused(more, "'v' are 5 wide, not 4")
    refused([], "must be a path or a list of paths; got")
    write_npy(more[2], {"v": random(2, 4), "a.mp4": random(2, 4)})
    refused(more, r"'a' and 'a\.mp4' are ids of the same video")
    (more[2] / "a.mp4.npy").rename(more[2] / "a.npy")
    refused(more, r"train and .*more both hold 'a'; remove one of the two")


# Recognition of layouts


def test_archive_of_all_videos_is_read(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "pack.npz", allow_pickle=False, **ARRAYS)
    for layout in ("auto", "npz"):
        source = open_features(path=tmp_path / "pack.npz", layout=layout, dim=4)
        assert source.describe().endswith("pack.npz (layout npz of all videos, 3 videos, 4 wide)")
        for name, array in ARRAYS.items():
            np.testing.assert_array_equal(source.rows(name), array)
    refused(tmp_path / "pack.npz", "no named arrays such as 'a'; set dataset.features.key=null", key="a")


def save_pickles(path: str) -> None:
    Path(path).mkdir()
    for name, array in ARRAYS.items():
        Path(path, f"{name}.pkl").write_bytes(pickle.dumps(array))
    Path(path, "README").touch()


FOREIGN: dict[str, tuple[str, Callable[[str], object]]] = {
    "it's.pkl": ("a pickle, which can run any program", lambda path: Path(path).write_bytes(pickle.dumps(ARRAYS))),
    "pickles": ("a folder of files, each a pickle, which can", save_pickles),
    "pack.npy": ("one .npy; of a dictionary it is a pickle", lambda path: np.save(path, ARRAYS)),  # type: ignore[arg-type]
    "pack.pt": (
        "one file of torch",
        lambda path: torch.save({name: torch.from_numpy(each) for name, each in ARRAYS.items()}, path),
    ),
    "data.mdb": ("an LMDB database", lambda path: Path(path).touch()),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_lines_that_convert_a_file_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    what, save = FOREIGN[name]
    save(name)
    with pytest.raises(DataError, match=rf"^{name} is {what}") as caught:
        open_features(path=name)
    lines = compile(textwrap.dedent(str(caught.value).partition("\n")[2]), "lines", "exec")
    if name != "data.mdb":  # there may be no module lmdb
        exec(lines, {})
        source = open_features(path="features")
        for video, array in ARRAYS.items():
            np.testing.assert_array_equal(source.rows(video), array)


@pytest.mark.parametrize("layout", ROW_WRITERS)
def test_layout_is_recognised_and_described(tmp_path: Path, layout: str) -> None:
    path = ROW_WRITERS[layout](tmp_path, ARRAYS)
    source, told = open_features(path=path), open_features(path=str(path), layout=layout)
    assert source.layout == told.layout == layout
    assert source.describe() == told.describe() == f"{path} ({DESCRIBED[layout]})"
    assert source.stamp() == told.stamp()
    if layout in ("npz", "hdf5_group"):
        assert f"layout {layout}, key features, 3 videos" in open_features(path=path, key="features").describe()


def test_hdf5_file_may_have_any_suffix(tmp_path: Path) -> None:
    for name in ("features.h5", "features", "features.npy"):
        write_flat(tmp_path, ARRAYS).rename(tmp_path / name)
        assert open_features(path=tmp_path / name).layout == "hdf5_flat"


def test_names_ending_in_numbers_are_videos_unless_all_are_windows(tmp_path: Path) -> None:
    write_npy(tmp_path, {"clip_1_65": random(2, 4), "clip_2": random(2, 4)})
    assert open_features(path=tmp_path).layout == "npy"
    (tmp_path / "clip_2.npy").rename(tmp_path / "clip_65_1.npy")  # ends before it starts
    assert open_features(path=tmp_path).layout == "npy"
    (tmp_path / "clip_65_1.npy").unlink()
    source = open_features(path=tmp_path)  # a window has one row
    assert (source.layout, list(source.ids())) == ("npy", ["clip_1_65"])
    write_npy(tmp_path, {"clip_1_65": random(4)})
    assert open_features(path=tmp_path).layout == "windows"
    (tmp_path / "inner").mkdir()
    (tmp_path / "clip_1_65.npy").rename(tmp_path / "inner" / "clip_1_65.npy")
    torch.save(torch.ones(2, 4), tmp_path / "a.pt")  # the files of the folder itself count
    assert open_features(path=tmp_path).layout == "pt"


def test_folder_of_several_layouts_is_refused(tmp_path: Path) -> None:
    for layout in ("npy", "pt"):
        WRITERS[layout](tmp_path, ARRAYS)
    (tmp_path / "a.txt").touch()
    refused(tmp_path, r"holds 3 \.(npy|pt), 3 \.(npy|pt), 1 \.txt, .*dataset\.features\.layout to choose among")
    assert open_features(path=tmp_path, layout="pt").describe().endswith(f"({DESCRIBED['pt']})")
    assert open_features(path=tmp_path, layout="npy").layout == "npy"


def test_wrong_path_layout_or_key_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.hdf5")  # opening it would wait for a writer
    (tmp_path / "dangling.hdf5").symlink_to(tmp_path / "nowhere")
    (tmp_path / "npy").mkdir()
    write_npy(tmp_path / "npy", {"a": random(2, 4), "b": random(2, 4)})
    write_flat(tmp_path, ARRAYS)
    rows: list[tuple[str, dict[str, Any], str]] = [
        ("pipe.hdf5", {}, "no feature pack at"),
        ("nowhere", {}, r"no feature pack at .*nowhere; set dataset\.features\.path"),
        ("dangling.hdf5", {}, "^no feature pack at"),
        ("x" * 300, {}, r"x cannot be read \(.*too long\); set dataset\.features\.path"),
        ("npy", {"layout": "lmdb"}, r"layout=lmdb is none of auto, hdf5, .*; set it to auto"),
        ("npy", {"layout": "hdf5"}, r"layout=hdf5 does not match .*npy, a folder of 2 \.npy; set it to auto"),
        ("pack.hdf5", {"layout": "npz"}, r"pack\.hdf5 cannot be read .*not a zip file"),
        *(
            ("pack.hdf5", {"layout": layout}, rf"layout={layout} does not match .*pack\.hdf5, a file; set it to auto")
            for layout in ("npy", "pt", "windows", "packed")
        ),
        *(
            ("npy", {"layout": layout, "transpose": True}, f"layout {layout} stores rows; .*transpose=false")
            for layout in ("packed", "windows")
        ),
        *(
            ("npy", {"layout": layout, "key": "rgb"}, rf"layout {layout} has no named arrays such as 'rgb'; .*key=null")
            for layout in ("npy", "pt", "windows", "packed")
        ),
    ]
    for name, how, message in rows:
        refused(tmp_path / name, message, **how)


# Stamps


@pytest.mark.parametrize("layout", ROW_WRITERS)
def test_stamp_changes_with_the_files_only(tmp_path: Path, layout: str) -> None:
    path = ROW_WRITERS[layout](tmp_path, ARRAYS)
    source = open_features(path=path)
    stamp = source.stamp()
    source.rows("a")
    assert stamp == source.stamp() == open_features(path=path).stamp()
    touched = next(iter(tmp_path.iterdir()))
    before = touched.stat()
    os.utime(touched, ns=(before.st_atime_ns, before.st_mtime_ns + 1000))
    moved = source.stamp()
    assert moved != stamp
    os.utime(touched, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert source.stamp() == stamp
    del source  # h5py refuses to write an open file
    ROW_WRITERS[layout](tmp_path, {**ARRAYS, "d": random(2, 4)})
    assert open_features(path=path).stamp() not in (stamp, moved)


def test_stamp_depends_on_how_a_pack_is_read(tmp_path: Path) -> None:
    for name in ("a_1_65", "a_1_129"):
        np.save(tmp_path / f"{name}.npy", random(1, 4))
    sources = [
        open_features(path=tmp_path),
        open_features(path=tmp_path, window=128),
        open_features(path=tmp_path, layout="npy"),
        open_features(path=tmp_path, normalise=True),
        open_features(path=tmp_path, layout="npy", transpose=True),
        open_features(path=tmp_path, concat=[{"path": tmp_path}]),
        open_features(path=tmp_path, concat=[{"path": tmp_path, "normalise": True}]),
    ]
    assert len({source.stamp() for source in sources}) == len(sources)


def test_stamp_of_missing_files_is_an_error(tmp_path: Path) -> None:
    source = open_features(path=write_flat(tmp_path, ARRAYS))
    (tmp_path / "pack.hdf5").unlink()
    with pytest.raises(DataError, match=r"pack\.hdf5 cannot be read .*copy it again"):
        source.stamp()
    write_npy(tmp_path, ARRAYS)
    folder = open_features(path=tmp_path)
    (tmp_path / "b.npy").unlink()
    (tmp_path / "b.npy").symlink_to(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"b\.npy cannot be read .*remove it, or copy it again"):
        folder.stamp()
