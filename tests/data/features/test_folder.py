"""Folders with a file a video; the oracle is the array that was written."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cpnet.data.features import FolderFeatures, open_features
from cpnet.data.moment import DataError
from packs import WRITERS, random

ROWS = random(3, 4)
MANY = 20_000


@pytest.mark.parametrize("layout", ["npy", "npz", "pt"])
def test_only_files_of_the_layout_in_the_folder_itself_count(tmp_path: Path, layout: str) -> None:
    WRITERS[layout](tmp_path, {"a": ROWS, "._a": ROWS})
    (tmp_path / "list.txt").touch()
    (tmp_path / "rgb").mkdir()
    WRITERS[layout](tmp_path / "rgb", {"b": ROWS})
    assert list(FolderFeatures(path=tmp_path, layout=layout).ids()) == ["a"]
    assert list(open_features(path=tmp_path).ids()) == ["a"]


@pytest.mark.parametrize("layout", ["npy", "npz", "pt"])
def test_names_keep_their_dots_and_letters(tmp_path: Path, layout: str) -> None:
    names = ["s30-d52.avi", "a.b.c", "Überfall 7", "x.npy", "-", "v_QOlSCBRmfWY", "trailing."]
    WRITERS[layout](tmp_path, {name: ROWS + i for i, name in enumerate(names)})
    source = FolderFeatures(path=tmp_path, layout=layout)
    assert list(source.ids()) == sorted(names)
    for i, name in enumerate(names):
        np.testing.assert_array_equal(source.rows(name), ROWS + i)


def test_a_name_that_is_no_utf8_is_one_like_others(tmp_path: Path) -> None:
    np.save(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.npy"), ROWS)
    source = open_features(path=tmp_path)
    np.testing.assert_array_equal(source.rows(os.fsdecode(b"caf\xe9")), ROWS)
    assert source.stamp() == source.stamp()


def test_a_folder_without_npy_says_what_it_holds(tmp_path: Path) -> None:
    for name in ("a.pt", "b.pt", "c.json"):
        (tmp_path / name).touch()
    (tmp_path / "rgb").mkdir()
    with pytest.raises(DataError, match=r"holds no \.npy file but 2 \.pt, 1 .*; set dataset\.features\.path"):
        FolderFeatures(path=tmp_path, layout="npy")
    with pytest.raises(DataError, match=r"is a file, not a folder of \.pt files; set dataset\.features\.layout=auto"):
        FolderFeatures(path=tmp_path / "a.pt", layout="pt")


def test_an_inner_key_is_for_npz_only(tmp_path: Path) -> None:
    for layout in ("npy", "pt"):
        WRITERS[layout](tmp_path, {"a": ROWS})
        with pytest.raises(DataError, match=rf"layout {layout} have no inner 'rgb'; set dataset\.features\.key=null"):
            FolderFeatures(path=tmp_path, layout=layout, key="rgb")


def test_later_versions_of_the_npy_format_are_read(tmp_path: Path) -> None:
    for version in ((1, 0), (2, 0), (3, 0)):
        with (tmp_path / f"v{version[0]}.npy").open("wb") as stream:
            np.lib.format.write_array(stream, ROWS, version=version)
    np.save(tmp_path / "columns.npy", np.asfortranarray(ROWS))
    source = FolderFeatures(path=tmp_path)
    for name in source.ids():
        np.testing.assert_array_equal(source.rows(name), ROWS)
        assert source.length(name) == 3


def test_the_key_chooses_among_the_arrays_of_an_npz(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", rgb=ROWS, flow=ROWS[:2] + 1)
    np.savez_compressed(tmp_path / "b.npz", rgb=ROWS + 2, flow=ROWS[:2])
    source = FolderFeatures(path=tmp_path, layout="npz", key="flow")
    np.testing.assert_array_equal(source.rows("a"), ROWS[:2] + 1)
    np.testing.assert_array_equal(source.rows("b"), ROWS[:2])
    assert source.length("b") == 2
    with pytest.raises(DataError, match=r"a\.npz holds 'rgb', 'flow', not one array; set dataset\.features\.key"):
        FolderFeatures(path=tmp_path, layout="npz")
    with pytest.raises(DataError, match=r"a\.npz holds 'rgb', 'flow', not 'features'; set dataset\.features\.key"):
        FolderFeatures(path=tmp_path, layout="npz", key="features")


def test_the_one_array_of_an_npz_needs_no_key(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", clip=ROWS)
    np.savez(tmp_path / "b.npz", ROWS + 1)  # numpy calls it arr_0
    np.savez(tmp_path / "none.npz")
    source = FolderFeatures(path=tmp_path, layout="npz")
    np.testing.assert_array_equal(source.rows("a"), ROWS)
    np.testing.assert_array_equal(source.rows("b"), ROWS + 1)
    with pytest.raises(DataError, match=r"none\.npz holds nothing, not one array"):
        source.rows("none")


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_tensors_of_all_floats_are_read(tmp_path: Path, dtype: torch.dtype, legacy: bool) -> None:
    # Halves and quarters, which all four hold exactly.
    expected = np.arange(12).reshape(3, 4) / 4 - 1
    tensor = torch.tensor(expected, dtype=dtype, requires_grad=True)
    torch.save(tensor, tmp_path / "a.pt", _use_new_zipfile_serialization=not legacy)
    source = FolderFeatures(path=tmp_path, layout="pt")
    assert (source.dim, source.length("a")) == (4, 3)
    rows = source.rows("a")
    np.testing.assert_array_equal(rows, expected)
    assert rows.dtype == (np.float16 if dtype == torch.float16 else np.float32)


def test_a_tensor_may_be_a_parameter_or_a_view(tmp_path: Path) -> None:
    whole = torch.from_numpy(random(6, 8))
    torch.save(torch.nn.Parameter(whole), tmp_path / "parameter.pt")
    torch.save(whole[::2, 1:], tmp_path / "slice.pt")
    torch.save(whole.T, tmp_path / "transposed.pt")
    source = FolderFeatures(path=tmp_path, layout="pt", dim=8)
    np.testing.assert_array_equal(source.rows("parameter"), whole.numpy())
    np.testing.assert_array_equal(source.stored("slice"), whole.numpy()[::2, 1:])
    np.testing.assert_array_equal(source.stored("transposed"), whole.numpy().T)


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize(
    ("held", "message"),
    [
        ({"rgb": torch.ones(2, 4), "fps": 25}, "dict of 'rgb', 'fps'"),
        ([torch.ones(2, 4)], "list"),
        (7, "int"),
        (torch.eye(4).to_sparse(), "one of torch.float32, torch.sparse_coo, on cpu"),
        (torch.empty(2, 4, device="meta"), "one of torch.float32, torch.strided, on meta"),
    ],
    ids=["dict", "list", "number", "sparse", "meta"],
)
def test_what_is_no_plain_tensor_is_named(tmp_path: Path, held: Any, message: str, legacy: bool) -> None:
    torch.save(torch.ones(2, 4), tmp_path / "a.pt")
    torch.save(held, tmp_path / "bad.pt", _use_new_zipfile_serialization=not legacy)
    source = FolderFeatures(path=tmp_path, layout="pt")
    for read in (source.rows, source.length, source.stored):
        with pytest.raises(DataError, match=rf"bad\.pt holds no plain tensor but {message}; save the features alone"):
            read("bad")


@pytest.mark.parametrize("layout", ["npy", "npz", "pt"])
def test_many_files_are_no_burden(tmp_path: Path, layout: str) -> None:
    WRITERS[layout](tmp_path, {"00000": ROWS})
    for number in range(1, MANY):
        (tmp_path / f"{number:05}.{layout}").touch()
    began = time.process_time()
    source = open_features(path=tmp_path)
    source.stamp()
    assert source.missing([f"{number:05}" for number in range(MANY + 1)]) == [str(MANY)]
    assert time.process_time() - began < 5
    assert len(source) == MANY


def test_many_windows_are_no_burden(tmp_path: Path) -> None:
    for number in range(MANY):
        start = 1 + 12 * (number // 4)
        (tmp_path / f"v{number % 4}.avi_{start}_{start + 64}.npy").touch()
    for number in range(4):
        np.save(tmp_path / f"v{number}.avi_1_65.npy", ROWS[0])
    began = time.process_time()
    source = open_features(path=tmp_path)
    source.stamp()
    assert [source.length(f"v{number}") for number in range(4)] == [MANY // 4] * 4
    assert time.process_time() - began < 5
