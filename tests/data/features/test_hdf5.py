"""HDF5 layouts; the oracle is the array that was written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from cpnet.data.features import open_features
from cpnet.errors import DataError
from packs import write_flat

ROWS: NDArray[Any] = np.arange(12, dtype="f4").reshape(4, 3)


@pytest.mark.parametrize("layout", ["hdf5", "hdf5_group"])
def test_key_selects_an_inner_dataset(tmp_path: Path, layout: Any) -> None:
    path = write_flat(tmp_path, {"a/c3d": ROWS, "a/i3d": ROWS + 1, "b/c3d": ROWS, "b/i3d": ROWS + 2})
    source = open_features(path=path, layout=layout, key="i3d")
    np.testing.assert_array_equal(source.rows("a"), ROWS + 1)
    np.testing.assert_array_equal(source.rows("b"), ROWS + 2)
    with pytest.raises(DataError, match=r"group 'a' holds 'c3d', 'i3d', not one dataset; set dataset\.features\.key"):
        open_features(path=path)
    with pytest.raises(DataError, match=r"group 'a' holds 'c3d', 'i3d', not 'c3d-features'"):
        open_features(path=path, key="c3d-features")


def test_key_cannot_leave_its_group(tmp_path: Path) -> None:
    path = write_flat(tmp_path, {"a/c3d": ROWS, "b/c3d": ROWS})
    for key in ("/b/c3d", "../b/c3d", "."):
        with pytest.raises(DataError, match="group 'a' holds 'c3d'"):
            open_features(path=path, key=key)


@pytest.mark.parametrize(
    ("entries", "ids", "key"),
    [
        (["a/b/v1", "a/b/v2"], ["a/b/v1", "a/b/v2"], None),
        (["train/v1", "train/v2", "val/v3"], ["train/v1", "train/v2", "val/v3"], None),
        (["a/v1/c3d", "a/v2/c3d"], ["a/v1", "a/v2"], None),
        (["a/v1/c3d", "a/v1/i3d", "a/v2/c3d", "a/v2/i3d"], ["a/v1", "a/v2"], "i3d"),
        (["v1/c3d", "v2/c3d"], ["v1", "v2"], None),
        (["v1/c3d"], ["v1"], None),
        (["a/v1", "a/v2", "text"], ["a/v1", "a/v2", "text"], None),
    ],
)
def test_videos_are_found_below_groups(tmp_path: Path, entries: list[str], ids: list[str], key: str | None) -> None:
    path = write_flat(tmp_path, {entry: ROWS + number for number, entry in enumerate(entries)})
    source = open_features(path=path, key=key)
    assert list(source.ids()) == ids
    chosen = [number for number, entry in enumerate(entries) if entry.endswith(key or "")]
    for number, video in zip(chosen, ids, strict=True):
        np.testing.assert_array_equal(source.rows(video), ROWS + number)
        np.testing.assert_array_equal(source.rows(video.rpartition("/")[2]), ROWS + number)


def test_wrong_layout_or_key_is_refused(tmp_path: Path) -> None:
    (tmp_path / "flat").mkdir()
    flat, grouped = write_flat(tmp_path / "flat", {"a": ROWS}), write_flat(tmp_path, {"a/c3d": ROWS})
    with pytest.raises(DataError, match=r"layout hdf5_flat, not hdf5_group .*layout=auto"):
        open_features(path=flat, layout="hdf5_group")
    with pytest.raises(DataError, match=r"has layout hdf5_group, not hdf5_flat .*layout=auto$"):
        open_features(path=grouped, layout="hdf5_flat")
    with pytest.raises(DataError, match=r"has layout hdf5_flat, .* with key c3d; .*key=null"):
        open_features(path=flat, key="c3d")


def test_entry_of_another_kind_is_named(tmp_path: Path) -> None:
    source = open_features(path=write_flat(tmp_path, {"a": ROWS, "b/c3d": ROWS}))
    with pytest.raises(DataError, match="'b' holds no array"):
        source.rows("b")
    (tmp_path / "nested").mkdir()
    nested = open_features(path=write_flat(tmp_path / "nested", {"a/c3d": ROWS, "b/c3d/deep": ROWS}))
    with pytest.raises(DataError, match="'b' holds no array"):
        nested.rows("b")


def test_error_of_damaged_rows_names_the_video(tmp_path: Path) -> None:
    path = tmp_path / "pack.hdf5"
    noise = np.random.default_rng(0).normal(size=(100, 30)).astype("f4")
    with h5py.File(path, "w") as file:
        file.create_dataset("a", data=noise, chunks=noise.shape, fletcher32=True)
    content = path.read_bytes()
    at = content.index(noise.tobytes()[:64])
    path.write_bytes(content[:at] + bytes(64) + content[at + 64 :])
    with pytest.raises(DataError, match="cannot read a "):
        open_features(path=path).rows("a")
