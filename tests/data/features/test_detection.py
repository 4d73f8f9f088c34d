"""What ``layout: auto`` takes, what it says of that, and what it says when nothing will do."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from cpnet.data.features import open_features
from cpnet.data.features.pack import pack
from cpnet.data.moment import DataError
from packs import ROW_WRITERS, WRITERS, random, write_flat, write_npy, write_windows

ARRAYS = {"a": random(2, 4), "b": random(3, 4), "c": random(1, 4)}
SAID = {
    "npy": "layout npy, 3 videos, 4 wide",
    "npz": "layout npz, key the only one, 3 videos, 4 wide",
    "pt": "layout pt, 3 videos, 4 wide",
    "hdf5_flat": "layout hdf5_flat, 3 videos, 4 wide",
    "hdf5_group": "layout hdf5_group, key features, 3 videos, 4 wide",
    "windows": "windows of 64 frames, 3 videos, 4 wide",
}


@pytest.mark.parametrize("layout", ROW_WRITERS)
def test_each_layout_is_recognised_and_said(tmp_path: Path, layout: str) -> None:
    path = ROW_WRITERS[layout](tmp_path, ARRAYS)
    source = open_features(path=path)
    assert source.layout == layout
    assert source.describe() == f"{path} ({SAID[layout]})"
    told = open_features(path=str(path), layout=layout)
    assert (told.layout, told.describe(), told.stamp()) == (source.layout, source.describe(), source.stamp())


def test_a_key_is_said(tmp_path: Path) -> None:
    for layout in ("npz", "hdf5_group"):
        path = WRITERS[layout](tmp_path, ARRAYS)
        assert f"layout {layout}, key features, 3 videos" in open_features(path=path, key="features").describe()


def test_a_packed_store_is_recognised(tmp_path: Path) -> None:
    pack(open_features(path=write_flat(tmp_path, ARRAYS)), tmp_path / "store", durations=dict.fromkeys(ARRAYS, 1.0))
    assert open_features(path=tmp_path / "store").layout == "packed"
    assert open_features(path=tmp_path / "store", layout="packed").layout == "packed"
    with pytest.raises(DataError, match=r"pack\.hdf5 is no packed store; set dataset\.features\.layout=auto"):
        open_features(path=tmp_path / "pack.hdf5", layout="packed")


def test_the_suffix_of_an_hdf5_file_does_not_matter(tmp_path: Path) -> None:
    for name in ("features.h5", "features", "features.npy"):
        write_flat(tmp_path, ARRAYS).rename(tmp_path / name)
        assert open_features(path=tmp_path / name).layout == "hdf5_flat"


def test_names_that_end_in_numbers_are_videos_unless_all_are_windows(tmp_path: Path) -> None:
    write_npy(tmp_path, {"clip_1_65": random(2, 4), "clip_2": random(2, 4)})
    assert open_features(path=tmp_path).layout == "npy"
    (tmp_path / "clip_2.npy").rename(tmp_path / "clip_65_1.npy")  # ends before it starts
    assert open_features(path=tmp_path).layout == "npy"
    (tmp_path / "clip_65_1.npy").unlink()
    with pytest.raises(DataError, match=r"clip_1_65\.npy has shape \(2, 4\) .*not one row"):
        open_features(path=tmp_path).rows("clip")


def test_other_files_beside_the_features_do_not_matter(tmp_path: Path) -> None:
    write_windows(tmp_path, ARRAYS)
    (tmp_path / "README.md").touch()
    (tmp_path / ".hidden.pt").touch()
    (tmp_path / "logs").mkdir()
    assert open_features(path=tmp_path).layout == "windows"


def test_a_folder_of_several_kinds_is_not_guessed(tmp_path: Path) -> None:
    for layout in ("npy", "pt"):
        WRITERS[layout](tmp_path, ARRAYS)
    (tmp_path / "a.txt").touch()
    with pytest.raises(
        DataError, match=r"holds 3 \.(npy|pt), 3 \.(npy|pt), 1 \.txt; .*dataset\.features\.layout to choose among"
    ):
        open_features(path=tmp_path)
    assert open_features(path=tmp_path, layout="pt").describe().endswith(f"({SAID['pt']})")
    assert open_features(path=tmp_path, layout="npy").layout == "npy"


def test_a_folder_of_folders_names_them(tmp_path: Path) -> None:
    for name in ("rgb", "flow"):
        (tmp_path / name).mkdir()
        write_npy(tmp_path / name, ARRAYS)
    (tmp_path / "readme.txt").touch()
    with pytest.raises(
        DataError,
        match=r"holds 2 folders, 1 \.txt; .*set dataset\.features\.path to one of its folders \('flow', 'rgb'\)",
    ):
        open_features(path=tmp_path)


def test_a_folder_of_neither_says_what_it_holds(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds nothing; a folder of \.npy, \.npz or \.pt files is wanted"):
        open_features(path=tmp_path)
    write_flat(tmp_path, ARRAYS)
    with pytest.raises(DataError, match=r"holds 1 \.hdf5; a folder of \.npy, \.npz or \.pt files is wanted"):
        open_features(path=tmp_path)


def test_what_is_neither_file_nor_folder_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.hdf5")  # to open it would wait for a writer
    with pytest.raises(DataError, match=r"pipe\.hdf5 is neither a file nor a folder; set dataset\.features\.path"):
        open_features(path=tmp_path / "pipe.hdf5")
    (tmp_path / "gone.hdf5").symlink_to(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"no feature pack at .*gone\.hdf5"):
        open_features(path=tmp_path / "gone.hdf5")
    with pytest.raises(DataError, match=r"x cannot be read \(.*too long.*\); .*set dataset\.features\.path"):
        open_features(path=tmp_path / ("x" * 300))


@pytest.mark.parametrize("layout", ["windows", "packed"])
def test_layouts_without_a_key_refuse_one(tmp_path: Path, layout: str) -> None:
    write_windows(tmp_path, ARRAYS)
    with pytest.raises(DataError, match=rf"layout {layout} has no inner 'rgb'; set dataset\.features\.key=null"):
        open_features(path=tmp_path, layout=layout, key="rgb")


def test_a_layout_of_files_is_not_a_folder(tmp_path: Path) -> None:
    path = write_flat(tmp_path, ARRAYS)
    for layout in ("npy", "npz", "pt", "windows"):
        with pytest.raises(DataError, match=r"is a file, not a folder of .*layout=auto"):
            open_features(path=path, layout=layout)
    with pytest.raises(DataError, match=r"layout=lmdb is none of auto, .*pack\.hdf5 is a file"):
        open_features(path=path, layout="lmdb")
    with pytest.raises(DataError, match="packed store"):
        open_features(path=tmp_path, layout="packed")


@pytest.mark.parametrize("layout", ROW_WRITERS)
def test_the_stamp_changes_with_the_files_and_with_nothing_else(tmp_path: Path, layout: str) -> None:
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
    source.close()
    ROW_WRITERS[layout](tmp_path, {**ARRAYS, "d": random(2, 4)})
    assert source.stamp() not in (stamp, moved)


@pytest.mark.parametrize("layout", ["npy", "npz", "pt", "windows"])
def test_the_stamp_of_a_folder_knows_names_and_sizes(tmp_path: Path, layout: str) -> None:
    path = ROW_WRITERS[layout](tmp_path, ARRAYS)
    source = open_features(path=path)
    stamps = [source.stamp()]
    file = max(path.iterdir())
    times = (file.stat().st_atime_ns, file.stat().st_mtime_ns)
    with file.open("ab") as stream:
        stream.write(b"more")
    os.utime(file, ns=times)
    stamps.append(source.stamp())
    file.rename(file.with_name(f"z{file.name}"))
    stamps.append(source.stamp())
    (path / f"z{file.name}").unlink()
    stamps.append(source.stamp())
    assert len(set(stamps)) == 4


def test_the_stamp_tells_how_a_pack_is_read(tmp_path: Path) -> None:
    for name in ("a_1_65", "a_1_129"):
        np.save(tmp_path / f"{name}.npy", random(1, 4))
    sources = [
        open_features(path=tmp_path),
        open_features(path=tmp_path, window=128),
        open_features(path=tmp_path, layout="npy"),
        open_features(path=tmp_path, normalise=True),
        open_features(path=tmp_path, concat=[{"path": tmp_path}]),
        open_features(path=tmp_path, concat=[{"path": tmp_path, "normalise": True}]),
    ]
    assert len({source.stamp() for source in sources}) == len(sources)


def test_the_stamp_of_what_is_gone_is_an_error(tmp_path: Path) -> None:
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
    with pytest.raises(DataError, match=r"b\.npy cannot be read as a \.npy array"):
        folder.rows("b")
