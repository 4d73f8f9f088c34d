"""The oracle is the hash of the bytes that the fingerprint covers."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpnet.data.features import open_features
from cpnet.data.features.fingerprint import fingerprint
from cpnet.data.features.pack import pack
from packs import ROW_WRITERS, Arrays, random, write_flat, write_npy

NAMES = ("3MSZA", "s30-d52.avi", "v_QOlSCBRmfWY", "00607")
HALVES = {name: random(5 + i, 4, dtype="float16") for i, name in enumerate(NAMES)}


def of(writer: str, arrays: Arrays) -> str:
    with TemporaryDirectory() as name:
        return fingerprint(open_features(path=ROW_WRITERS[writer](Path(name), arrays)))


def test_fingerprint_hashes_ids_shapes_and_three_rows(tmp_path: Path) -> None:
    rows = np.arange(20).reshape(5, 4)
    write_npy(tmp_path, {"v_QOlSCBRmfWY": rows.astype("f4"), "b.avi": np.ones((1, 4), "f8")})
    seen = b"QOlSCBRmfWY\0" + b"5\0" + b"4\n" + b"b\0" + b"1\0" + b"4\n"
    seen += rows[[0, 2, 4]].astype("<f2").tobytes() + np.ones((3, 4), "<f2").tobytes()
    assert fingerprint(open_features(path=tmp_path)) == hashlib.sha256(seen).hexdigest()[:16]


@pytest.mark.parametrize("layout", ROW_WRITERS)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_fingerprint_ignores_layout_and_precision(layout: str, dtype: str) -> None:
    assert of(layout, {name: rows.astype(dtype) for name, rows in HALVES.items()}) == of("npy", HALVES)


def test_fingerprint_ignores_the_spelling_of_ids_and_singleton_dimensions() -> None:
    other = ("3MSZA.mp4", "s30-d52-cam-002", "QOlSCBRmfWY", "00607.avi.mkv")
    rows = (rows[:, None, None] for rows in HALVES.values())
    assert of("npy", dict(zip(other, rows, strict=True))) == of("npy", HALVES)


def test_packed_store_has_the_fingerprint_of_its_pack(tmp_path: Path) -> None:
    source = open_features(path=write_flat(tmp_path, {name: random(5, 4) for name in NAMES}))
    pack(source, tmp_path / "store", videos=NAMES[:2])
    assert fingerprint(open_features(path=tmp_path / "store")) == fingerprint(source)


@given(name=st.sampled_from(NAMES), row=st.sampled_from(["first", "middle", "last"]), column=st.integers(0, 3))
def test_fingerprint_depends_on_each_sampled_row(name: str, row: str, column: int) -> None:
    changed = {**HALVES, name: HALVES[name].copy()}
    changed[name][{"first": 0, "middle": len(HALVES[name]) // 2, "last": -1}[row], column] += 1
    assert of("npy", changed) != of("npy", HALVES)


def test_fingerprint_depends_on_ids_counts_and_widths() -> None:
    constant = {"a": np.zeros((4, 3), "f4"), "b": np.zeros((4, 3), "f4")}
    others = [
        {"a": constant["a"], "c": constant["b"]},
        {"a": constant["a"]},
        {**constant, "c": constant["b"]},
        {"a": constant["a"], "b": np.zeros((5, 3), "f4")},
        {name: np.zeros((4, 4), "f4") for name in constant},
        {name: np.zeros((3, 3), "f4") for name in constant},
    ]
    assert len({of("npy", arrays) for arrays in (constant, *others)}) == len(others) + 1


def test_id_of_any_bytes_has_a_fingerprint(tmp_path: Path) -> None:
    np.save(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.npy"), HALVES["00607"])
    seen = b"caf\xe9\0" + b"8\0" + b"4\n" + HALVES["00607"][[0, 4, 7]].tobytes()
    assert fingerprint(open_features(path=tmp_path)) == hashlib.sha256(seen).hexdigest()[:16]


def test_damaged_video_is_left_out(tmp_path: Path) -> None:
    whole, damaged = tmp_path / "whole", tmp_path / "damaged"
    for folder in (whole, damaged):
        folder.mkdir()
        write_npy(folder, {"a": np.ones((3, 2), "f4")})
    (damaged / "b.npy").write_bytes(b"x")
    assert fingerprint(open_features(path=damaged)) == fingerprint(open_features(path=whole))
