"""The oracle is the hash of the bytes that the fingerprint covers."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest

from cpnet.data.features import open_features
from cpnet.data.features.fingerprint import fingerprint
from packs import ROW_WRITERS, Arrays, random, write_npy

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
