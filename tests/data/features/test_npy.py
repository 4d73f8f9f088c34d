from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cpnet.data.features import NpyFeatures
from cpnet.data.moment import DataError


def test_only_npy_files_of_the_folder_itself_count(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.ones((2, 3), "f4"))
    np.save(tmp_path / "._a.npy", np.ones((2, 3), "f4"))
    (tmp_path / "list.txt").touch()
    (tmp_path / "rgb").mkdir()
    assert list(NpyFeatures(path=tmp_path).ids()) == ["a"]


def test_a_folder_without_npy_says_what_it_holds(tmp_path: Path) -> None:
    for name in ("a.pt", "b.pt", "c.json"):
        (tmp_path / name).touch()
    (tmp_path / "rgb").mkdir()
    with pytest.raises(DataError, match=r"holds no \.npy file but 2 \.pt, .*1 folders"):
        NpyFeatures(path=tmp_path)
    with pytest.raises(DataError, match=r"is a file, not a folder .*layout=hdf5"):
        NpyFeatures(path=tmp_path / "a.pt")


def test_damaged_and_pickled_files_are_refused_by_name(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.ones((50, 3), "f4"))
    whole = (tmp_path / "a.npy").read_bytes()
    (tmp_path / "short.npy").write_bytes(whole[:-100])
    (tmp_path / "header.npy").write_bytes(whole[:20])
    (tmp_path / "text.npy").write_text("not an array")
    (tmp_path / "empty.npy").touch()
    np.save(tmp_path / "object.npy", np.array([[{}]], dtype=object), allow_pickle=True)
    source = NpyFeatures(path=tmp_path)
    for name in ("short", "header", "text", "empty", "object"):
        with pytest.raises(DataError, match=rf"{name}\.npy cannot be read"):
            source.rows(name)


def test_later_versions_of_the_format_are_read(tmp_path: Path) -> None:
    rows = np.arange(6, dtype="f4").reshape(2, 3)
    for version in ((1, 0), (2, 0), (3, 0)):
        with (tmp_path / f"v{version[0]}.npy").open("wb") as stream:
            np.lib.format.write_array(stream, rows, version=version)
    with (tmp_path / "columns.npy").open("wb") as stream:
        np.save(stream, np.asfortranarray(rows))
    source = NpyFeatures(path=tmp_path)
    for name in source.ids():
        np.testing.assert_array_equal(source.rows(name), rows)
        assert source.length(name) == 2
