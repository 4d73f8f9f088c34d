"""The oracle is a store of the documented format, written by numpy and json alone."""

from __future__ import annotations

import io
import json
import os
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from cpnet.data.features import PackedFeatures, open_features
from cpnet.data.features.packed import is_packed
from cpnet.data.features.placement import TableFeatures
from cpnet.errors import DataError
from packs import Payload, npy_header

ROWS: NDArray[np.float16] = np.vstack([np.random.default_rng(0).normal(size=(9, 4)), np.zeros((1, 4))]).astype("f2")
STARTS, COUNTS = (0, 2, 3), (2, 1, 6)
IDS = ("s30-d52-cam-002", "v_QOlSCBRmfWY", "00607")
FIELDS: dict[str, Any] = {
    "format": "cpnet packed features, 1",
    "ids": [*IDS],
    "counts": [*COUNTS],
    "fingerprint": "0123456789abcdef",
    "stamp": "57a3",
    "source": "it",
}


def make(path: Path, rows: Any = ROWS, **changes: Any) -> Path:
    """Write a store whose index has changed fields, or lacks one that is None."""
    path.mkdir(exist_ok=True)
    np.save(path / "rows.npy", rows)
    fields = {name: value for name, value in (FIELDS | changes).items() if value is not None}
    (path / "index.json").write_text(json.dumps(fields), encoding="utf-8")
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return make(tmp_path / "store")


def refused(path: Path, reason: str = "") -> None:
    with pytest.raises(
        DataError, match=rf"^{path} is not a packed store or is damaged \(.*{reason}.*\); remove it, or pack again: "
    ):
        PackedFeatures(path=path)


def test_store_returns_what_was_written(path: Path) -> None:
    store = PackedFeatures(path=path)
    assert (store.dim, len(store), sorted(store.ids())) == (4, 3, sorted(IDS))
    for spelling, start, count in zip(("s30-d52.avi", "QOlSCBRmfWY.mp4", "00607.mkv"), STARTS, COUNTS, strict=True):
        assert spelling in store
        assert store.start(spelling) == start
        assert store.length(spelling) == count
        assert store.rows(spelling).dtype == np.float16
        np.testing.assert_array_equal(store.rows(spelling), ROWS[start : start + count])
    np.testing.assert_array_equal(store.table, ROWS)
    assert (store.fingerprint, store.source_stamp) == ("0123456789abcdef", "57a3")
    assert store.describe() == f"{path} (packed, float16, 3 videos, 4 wide; from it)"
    for ask in (store.start, store.rows, store.length):
        with pytest.raises(DataError, match="has no features of video '607'"):
            ask("607")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have sparse files, but other rules on memory")
def test_store_larger_than_memory_is_mapped(tmp_path: Path) -> None:
    memory = psutil.virtual_memory().total + psutil.swap_memory().total
    rows = 1 + 2 * memory // (1 << 20)  # twice the memory, of 1 MB each
    folder = tmp_path / "store"
    folder.mkdir()
    header = {"descr": "<f2", "fortran_order": False, "shape": (rows, 1 << 19)}
    with (folder / "rows.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        file.truncate(file.tell() + rows * (1 << 20))  # sparse: it takes no disk
    fields = FIELDS | {"ids": ["a"], "counts": [rows - 1]}
    (folder / "index.json").write_text(json.dumps(fields), encoding="utf-8")
    store = PackedFeatures(path=folder)
    assert not store.table[rows // 2, :10].any()
    placed = TableFeatures(store.table, starts=torch.tensor([0]), counts=torch.tensor([rows - 1]))
    assert placed.table.shape == (rows, 1 << 19)


def test_float32_is_read_too(tmp_path: Path) -> None:
    store = PackedFeatures(path=make(tmp_path / "store", ROWS.astype("f4")))
    np.testing.assert_array_equal(store.table, ROWS.astype("f4"))
    assert store.rows("00607").dtype == np.float32


def test_store_is_recognised(path: Path, tmp_path: Path) -> None:
    (path / ".DS_Store").touch()
    assert is_packed(path)
    for layout in ("auto", "packed"):
        assert isinstance(open_features(path=path, layout=layout), PackedFeatures)
    (tmp_path / "empty").mkdir()
    (path / "more.npy").touch()
    for other in (path / "rows.npy", tmp_path / "empty", tmp_path / "absent", path):
        assert not is_packed(other)
    for other in (path / "rows.npy", tmp_path / "empty", tmp_path / "absent"):
        refused(other)


@pytest.mark.parametrize("file", ["rows.npy", "index.json"])
def test_stamp_changes_with_the_files(path: Path, file: str) -> None:
    before = PackedFeatures(path=path).stamp()
    assert PackedFeatures(path=path).stamp() == before
    os.utime(path / file, ns=(1, 1))
    assert PackedFeatures(path=path).stamp() != before


# Untrusted stores


@pytest.mark.parametrize("field", FIELDS)
def test_field_that_is_missing_or_of_another_kind_is_refused(tmp_path: Path, field: str) -> None:
    values: list[Any] = [None, 7, 1.5, True, "text", [], {}, [None], [[1]], [-1, 10], [10, 4.5]]
    for value in values:
        if type(value) is not str or type(FIELDS[field]) is not str or field == "format":
            refused(make(tmp_path / "store", **{field: value}))


@pytest.mark.parametrize(
    ("reason", "changes"),
    [
        ("counts", {"counts": [2, 7, 0]}),
        ("counts", {"counts": [2, 9, -2]}),
        ("counts", {"counts": [2, True, 6]}),
        ("counts", {"counts": [2, 1.0, 6]}),
        ("counts", {"counts": [2, 1 << 80, 6]}),
        ("counts", {"counts": [2, "1", 6]}),
        ("counts", {"counts": [2, 1, 7]}),
        ("counts", {"counts": [2, 1, 5]}),
        ("ids", {"counts": [2, 7]}),
        ("ids", {"ids": IDS[:2]}),
        ("ids", {"ids": [*IDS[:2], IDS[0]]}),
        ("ids", {"ids": [*IDS[:2], 607]}),
        ("ids", {"ids": [*IDS[:2], ["00607"]]}),
        ("format", {"format": "cpnet packed features, 2"}),
    ],
    ids=str,
)
def test_index_that_does_not_match_the_rows_is_refused(tmp_path: Path, reason: str, changes: dict[str, Any]) -> None:
    refused(make(tmp_path / "store", **changes), reason)


def test_ids_of_one_video_and_no_ids_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"'s30-d52' and 's30-d52\.mp4' are ids of the same video"):
        PackedFeatures(path=make(tmp_path / "store", ids=["s30-d52", "b", "s30-d52.mp4"]))
    with pytest.raises(DataError, match="holds no video features"):
        PackedFeatures(path=make(tmp_path / "store", ROWS[-1:], ids=[], counts=[]))


def npy(rows: NDArray[Any]) -> bytes:
    stream = io.BytesIO()
    np.save(stream, rows)
    return stream.getvalue()


NOT_ROWS: dict[str, bytes] = {
    "big endian": npy(ROWS.astype(">f2")),
    "float64": npy(ROWS.astype("f8")),
    "integers": npy(ROWS.astype("i2")),
    "complex": npy(ROWS.astype("c8")),
    "one dimension": npy(ROWS[:, 0]),
    "three dimensions": npy(ROWS[:, None]),
    "no columns": npy(ROWS[:, :0]),
    "no rows": npy(ROWS[:0]),
    "columns first": npy(np.asfortranarray(ROWS)),
    "records": npy(np.zeros(ROWS.shape, [("a", "f2")])),
    "text": npy(np.full(ROWS.shape, b"ab")),
    "longer": npy(ROWS) + b"\0",
    "huge": npy_header((1 << 50, 1 << 10), "<f2") + bytes(100),
    "overflow": npy_header((1 << 62, 4), "<f2") + bytes(100),
    "unaligned": b"\x93NUMPY\x01\0"
    + (119).to_bytes(2, "little")
    + npy_header((10, 4), "<f2")[12:130]
    + b"\n"
    + bytes(80),
}


@pytest.mark.parametrize("kind", NOT_ROWS)
@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
def test_rows_of_another_kind_are_refused(path: Path, kind: str) -> None:
    (path / "rows.npy").write_bytes(NOT_ROWS[kind])
    with pytest.raises(DataError):  # without columns it is refused as an empty video
        PackedFeatures(path=path)


def test_pickle_is_never_executed(path: Path) -> None:
    payload = pickle.dumps(Payload(path / "proof"))
    for content in (payload, npy_header((10, 4), "|O") + payload):
        (path / "rows.npy").write_bytes(content)
        refused(path)
    assert not (path / "proof").exists()


@pytest.mark.parametrize("file", ["rows.npy", "index.json"])
def test_path_that_is_not_a_file_is_refused(path: Path, file: str) -> None:
    place = path / file
    place.unlink()
    refused(path)
    place.symlink_to(path / "nowhere")
    refused(path)
    place.unlink()
    os.mkfifo(place)  # opening it would wait for a writer
    refused(path)
    place.unlink()
    place.mkdir()
    refused(path)


@pytest.mark.parametrize(
    "content",
    [b"", b"null", b"[]", b'"text"', b"{}", b"\xff", b"[" * 100_000, b'{"counts": ' + b"9" * 10_000 + b"}"],
    ids=lambda content: repr(content[:20]),
)
def test_index_that_is_something_else_is_refused(path: Path, content: bytes) -> None:
    (path / "index.json").write_bytes(content)
    refused(path)


def test_huge_index_is_not_read(path: Path) -> None:
    os.truncate(path / "index.json", 1 << 41)  # sparse, and larger than memory
    refused(path, "has more than")


@pytest.mark.parametrize("file", ["rows.npy", "index.json"])
def test_file_cut_anywhere_is_refused(path: Path, file: str) -> None:
    content = (path / file).read_bytes()
    for length in range(len(content)):
        (path / file).write_bytes(content[:length])
        refused(path)


@given(data=st.data())
def test_flipped_bytes_are_refused_or_change_values_only(tmp_path_factory: pytest.TempPathFactory, data: Any) -> None:
    path = make(tmp_path_factory.mktemp("flipped") / "store")
    file = path / data.draw(st.sampled_from(["rows.npy", "index.json"]))
    content = bytearray(file.read_bytes())
    for place in data.draw(st.sets(st.integers(0, min(200, len(content) - 1)), min_size=1)):
        content[place] ^= data.draw(st.integers(1, 255))
    file.write_bytes(content)
    try:
        store = PackedFeatures(path=path)
    except DataError:
        return
    assert store.table.shape == ROWS.shape
    assert sum(store.length(video) for video in store.ids()) == len(ROWS) - 1
    assert all(store.stored(video).shape == (store.length(video), 4) for video in store.ids())
