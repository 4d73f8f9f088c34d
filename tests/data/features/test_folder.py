"""Folders with a file a video; the oracle is the array that was written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cpnet.data.features import open_features
from cpnet.data.features.pack import pack
from cpnet.errors import DataError
from packs import WRITERS, random

ROWS = random(3, 4)


@pytest.mark.parametrize("layout", ["npy", "npz", "pt"])
def test_ids_are_paths_and_hidden_and_other_files_are_ignored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder, names in {"": ["a", "._a"], "part/0": ["b"], "x": ["c", "d"], "y": ["c"], ".old": ["e"]}.items():
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        WRITERS[layout](tmp_path / folder, dict.fromkeys(names, ROWS + len(folder)))
    (tmp_path / "list.txt").touch()
    (tmp_path / "x" / "up").symlink_to(tmp_path)
    pack(open_features(path=tmp_path), tmp_path / "store", videos="a")
    for source in (open_features(path=tmp_path, layout=layout), open_features(path=tmp_path), open_features(path=".")):
        assert list(source.ids()) == ["a", "part/0/b", "x/c", "x/d", "y/c"]
        for video in ("b", "part/0/b", "d.mp4"):
            np.testing.assert_array_equal(source.rows(video), ROWS + (1 if "d" in video else 6))
        assert source.missing(["c", "x/c", "0/b", "e"]) == ["c", "0/b", "e"]  # c may be either


@pytest.mark.parametrize("layout", ["npy", "npz", "pt"])
def test_names_keep_their_dots_and_letters(tmp_path: Path, layout: str) -> None:
    names = ["s30-d52.avi", "a.b.c", "Überfall 7", "x.npy", "-", "v_QOlSCBRmfWY", "trailing."]
    WRITERS[layout](tmp_path, {name: ROWS + i for i, name in enumerate(names)})
    source = open_features(path=tmp_path, layout=layout)
    assert list(source.ids()) == sorted(names)
    for i, name in enumerate(names):
        np.testing.assert_array_equal(source.rows(name), ROWS + i)


def test_later_versions_of_the_npy_format_are_read(tmp_path: Path) -> None:
    for version in ((1, 0), (2, 0), (3, 0)):
        with (tmp_path / f"v{version[0]}.npy").open("wb") as stream:
            np.lib.format.write_array(stream, ROWS, version=version)
    np.save(tmp_path / "columns.npy", np.asfortranarray(ROWS))
    source = open_features(path=tmp_path)
    for name in source.ids():
        np.testing.assert_array_equal(source.rows(name), ROWS)
        assert source.length(name) == 3


def test_key_selects_an_array_of_an_npz(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", rgb=ROWS, flow=ROWS[:2] + 1)
    np.savez_compressed(tmp_path / "b.npz", rgb=ROWS + 2, flow=ROWS[:2])
    source = open_features(path=tmp_path, layout="npz", key="flow")
    np.testing.assert_array_equal(source.rows("a"), ROWS[:2] + 1)
    np.testing.assert_array_equal(source.rows("b"), ROWS[:2])
    assert source.length("b") == 2
    with pytest.raises(DataError, match=r"a\.npz holds 'rgb', 'flow', not one array; set dataset\.features\.key"):
        open_features(path=tmp_path, layout="npz")
    with pytest.raises(DataError, match=r"a\.npz holds 'rgb', 'flow', not 'features'; set dataset\.features\.key"):
        open_features(path=tmp_path, layout="npz", key="features")


def test_npz_with_one_array_needs_no_key(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", clip=ROWS)
    np.savez(tmp_path / "b.npz", ROWS)  # numpy names it arr_0
    np.savez(tmp_path / "none.npz")
    source = open_features(path=tmp_path, layout="npz")
    for name in "ab":
        np.testing.assert_array_equal(source.rows(name), ROWS)
    with pytest.raises(DataError, match=r"none\.npz holds nothing, not one array"):
        source.rows("none")


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_tensors_of_all_floats_are_read(tmp_path: Path, dtype: torch.dtype, legacy: bool) -> None:
    # Halves and quarters, which all four hold exactly.
    expected = np.arange(12).reshape(3, 4) / 4 - 1
    tensor = torch.tensor(expected, dtype=dtype, requires_grad=True)
    torch.save(tensor, tmp_path / "a.pt", _use_new_zipfile_serialization=not legacy)
    source = open_features(path=tmp_path, layout="pt")
    assert (source.dim, source.length("a")) == (4, 3)
    rows = source.rows("a")
    np.testing.assert_array_equal(rows, expected)
    assert rows.dtype == (np.float16 if dtype == torch.float16 else np.float32)


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize(
    ("held", "message"),
    [
        ({"rgb": torch.ones(2, 4), "fps": 25}, "dict of 'rgb', 'fps'"),
        ([torch.ones(2, 4)], "list"),
        (7, "int"),
        (torch.eye(4).to_sparse(), "a tensor of torch.float32, torch.sparse_coo, on cpu"),
        (torch.empty(2, 4, device="meta"), "a tensor of torch.float32, torch.strided, on meta"),
    ],
    ids=["dict", "list", "number", "sparse", "meta"],
)
def test_pt_without_a_dense_tensor_is_named(tmp_path: Path, held: Any, message: str, legacy: bool) -> None:
    torch.save(torch.ones(2, 4), tmp_path / "a.pt")
    torch.save(held, tmp_path / "bad.pt", _use_new_zipfile_serialization=not legacy)
    source = open_features(path=tmp_path, layout="pt")
    for read in (source.rows, source.length, source.stored):
        with pytest.raises(DataError, match=rf"bad\.pt holds {message}, not a dense CPU tensor; save the"):
            read("bad")
