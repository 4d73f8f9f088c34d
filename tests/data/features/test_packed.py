"""Stores are written here byte by byte as the format is documented, by h5py and zlib alone."""

from __future__ import annotations

import gc
import multiprocessing
import operator
import os
import pickle
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from cpnet.data.features import PackedFeatures, open_features
from cpnet.data.features.pack import verify
from cpnet.data.features.packed import is_packed
from cpnet.data.moment import DataError

SEAL_BYTES = 512
ROWS: NDArray[np.float16] = np.vstack([np.random.default_rng(0).normal(size=(9, 4)), np.zeros((1, 4))]).astype("f2")
OFFSETS = np.array([0, 2, 3, 9])
IDS = ["s30-d52-cam-002", "v_QOlSCBRmfWY", "00607"]
DURATIONS = np.array([10.0, 2.5, 300.0])
VIDEOS = {name: ROWS[begin:end] for name, begin, end in zip(IDS, OFFSETS[:-1], OFFSETS[1:], strict=True)}
CHECKSUMS = np.array([zlib.crc32(rows.tobytes()) for rows in VIDEOS.values()], "u4")
DATASETS: dict[str, Any] = {
    "offsets": OFFSETS,
    "ids": IDS,
    "durations": DURATIONS,
    "checksums": CHECKSUMS,
    "rows": ROWS,
}
ATTRIBUTES = {"format": "cpnet packed features, 1", "fingerprint": "0123456789abcdef", "stamp": "57a3", "source": "it"}


def seal(path: Path, length: int | None = None) -> Path:
    """Fill the user block so that it fits what follows, up to ``length`` bytes."""
    content = path.read_bytes()
    index = content[SEAL_BYTES:] if length is None else content[SEAL_BYTES : SEAL_BYTES + length]
    text = f"cpnet packed features, 1\n{len(index)} {zlib.crc32(index)}\n".encode()
    path.write_bytes(text + bytes(SEAL_BYTES - len(text)) + content[SEAL_BYTES:])
    return path


def make(path: Path, change: Callable[[h5py.File], object] | None = None, **datasets: Any) -> Path:
    """Write a store with other datasets than are right, or none where one is None, or changed by what h5py offers."""
    with h5py.File(path, "w", userblock_size=SEAL_BYTES, meta_block_size=1 << 13) as file:
        file.attrs.update(ATTRIBUTES)
        for name, values in {**DATASETS, **datasets}.items():
            if values is not None:
                file[name] = values
        if change is not None:
            change(file)
        begin = file["rows"].id.get_offset() if isinstance(file.get("rows"), h5py.Dataset) else None
    return seal(path, None if begin is None else begin - SEAL_BYTES)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return make(tmp_path / "store")


def test_a_store_gives_what_it_says(path: Path) -> None:
    store = PackedFeatures(path=path)
    assert (store.dim, len(store), sorted(store.ids())) == (4, 3, sorted(IDS))
    for number, (name, rows) in enumerate(VIDEOS.items()):
        assert store.rows(name).dtype == np.float16
        np.testing.assert_array_equal(store.rows(name), rows)
        assert store.place(name) == (OFFSETS[number], len(rows))
        assert store.length(name) == len(rows)
        assert store.duration_sec(name) == DURATIONS[number]
        assert store.checksum(name) == CHECKSUMS[number]
    np.testing.assert_array_equal(store.table(), ROWS)
    assert (store.fingerprint, store.source_stamp, store.description) == ("0123456789abcdef", "57a3", "it")
    assert store.describe() == f"{path} (packed, float16, 3 videos, 4 wide; from it)"
    verify(store)


def test_float32_is_read_too(tmp_path: Path) -> None:
    rows = np.vstack([np.random.default_rng(1).normal(size=(9, 4)), np.zeros((1, 4))]).astype("f4")
    store = PackedFeatures(path=make(tmp_path / "store", rows=rows))
    np.testing.assert_array_equal(store.table(), rows)
    assert store.rows("00607").dtype == np.float32


def test_a_video_is_found_by_any_spelling(path: Path) -> None:
    store = PackedFeatures(path=path)
    for spelling, name in (("s30-d52.avi", IDS[0]), ("QOlSCBRmfWY.mp4", IDS[1]), ("00607.mkv", IDS[2])):
        assert spelling in store
        assert store.place(spelling) == store.place(name)
        assert store.duration_sec(spelling) == store.duration_sec(name)
        assert store.checksum(spelling) == store.checksum(name)
        np.testing.assert_array_equal(store.rows(spelling), VIDEOS[name])
    for ask in (store.place, store.duration_sec, store.checksum, store.rows, store.length):
        with pytest.raises(DataError, match="has no features of video '607'"):
            ask("607")


def test_a_store_is_recognised(path: Path, tmp_path: Path) -> None:
    assert is_packed(path)
    assert isinstance(open_features(path=path), PackedFeatures)
    with h5py.File(tmp_path / "pack", "w") as file:
        file.attrs["format"] = ATTRIBUTES["format"]
        file["a"] = ROWS
    (tmp_path / "empty").touch()
    for other in (tmp_path / "pack", tmp_path / "empty", tmp_path, tmp_path / "absent"):
        assert not is_packed(other)
    for other in (tmp_path / "pack", tmp_path / "empty"):
        with pytest.raises(
            DataError, match=r"is no packed store; set dataset\.features\.layout=auto, or pack it again"
        ):
            PackedFeatures(path=other)
    for other in (tmp_path, tmp_path / "absent"):
        with pytest.raises(DataError, match=r"remove it, or make it again: python -m cpnet\.prepare action=pack"):
            PackedFeatures(path=other)


def test_the_width_that_is_told_must_be_the_stores(path: Path) -> None:
    assert PackedFeatures(path=path, dim=4).dim == 4
    with pytest.raises(DataError, match="are 4 wide, not 500"):
        PackedFeatures(path=path, dim=500)


def test_the_stamp_changes_with_the_file(path: Path) -> None:
    before = PackedFeatures(path=path).stamp()
    assert PackedFeatures(path=path).stamp() == before
    os.utime(path, ns=(1, 1))
    assert PackedFeatures(path=path).stamp() != before


# Hostile stores


def refused(path: Path, reason: str) -> None:
    with pytest.raises(DataError, match=rf"^{path}: the packed store is damaged \({reason}.*make it again: "):
        PackedFeatures(path=path)


@pytest.mark.parametrize("name", DATASETS)
def test_each_dataset_is_wanted(tmp_path: Path, name: str) -> None:
    refused(make(tmp_path / "store", **{name: None}), f"it lacks its {name}")


@pytest.mark.parametrize("name", DATASETS)
def test_each_dataset_must_be_one_of_this_file(tmp_path: Path, name: str) -> None:
    make(tmp_path / "other")
    layout = h5py.VirtualLayout(shape=np.shape(DATASETS[name]), dtype="f2")
    layout[...] = h5py.VirtualSource(tmp_path / "other", name, shape=np.shape(DATASETS[name]))
    (tmp_path / "raw").write_bytes(bytes(10_000))
    changes: list[Callable[[h5py.File], object]] = [
        lambda file: file.create_group(name),
        lambda file: operator.setitem(file, name, h5py.SoftLink("/else")),
        lambda file: operator.setitem(file, name, h5py.SoftLink("/nowhere")),
        lambda file: operator.setitem(file, name, h5py.ExternalLink(tmp_path / "other", name)),
        lambda file: operator.setitem(file, name, np.dtype("f2")),
        lambda file: file.create_virtual_dataset(name, layout),
        lambda file: file.create_dataset(
            name, np.shape(DATASETS[name]), "f2", external=[(tmp_path / "raw", 0, h5py.h5f.UNLIMITED)]
        ),
    ]
    for change in changes:
        store = make(
            tmp_path / "store",
            lambda file, change=change: (operator.setitem(file, "else", DATASETS[name]), change(file)),  # type: ignore[misc]
            **{name: None},
        )
        refused(store, f"it lacks its {name}")


@pytest.mark.parametrize("name", ["fingerprint", "stamp", "source"])
def test_each_attribute_is_wanted(tmp_path: Path, name: str) -> None:
    refused(make(tmp_path / "store", lambda file: operator.delitem(file.attrs, name)), f".*{name}")


def layouts() -> dict[str, Callable[[h5py.File], object]]:
    compact = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    compact.set_layout(h5py.h5d.COMPACT)
    other = h5py.h5t.IEEE_F32LE.copy()
    other.set_ebias(100)  # so many bytes as float32, and other numbers
    brain = h5py.h5t.IEEE_F32LE.copy()
    brain.set_fields(15, 7, 8, 0, 7)
    brain.set_size(2)
    space = h5py.h5s.create_simple(ROWS.shape)

    def low_level(kind: Any, plist: Any = None) -> Callable[[h5py.File], object]:
        return lambda file: h5py.h5d.create(file.id, b"rows", kind, space, dcpl=plist).write(
            h5py.h5s.ALL, h5py.h5s.ALL, ROWS.astype("f4")
        )

    return {
        "chunked": lambda file: file.create_dataset("rows", data=ROWS, chunks=(2, 4)),
        "compressed": lambda file: file.create_dataset("rows", data=ROWS, compression="gzip"),
        "resizable": lambda file: file.create_dataset("rows", data=ROWS, maxshape=(None, 4)),
        "compact": low_level(h5py.h5t.IEEE_F16LE, compact),
        "of another float": low_level(other),
        "of bfloat16": low_level(brain),
        "empty": lambda file: file.create_dataset("rows", data=h5py.Empty("f2")),
        "a number": lambda file: file.create_dataset("rows", data=1.0, dtype="f2"),
    }


@pytest.mark.parametrize("layout", layouts())
def test_rows_of_another_layout_are_refused(tmp_path: Path, layout: str) -> None:
    refused(make(tmp_path / "store", layouts()[layout], rows=None), "its rows are not one block of float16 or float32")


@pytest.mark.parametrize(
    "rows",
    [
        ROWS.astype(">f2"),
        ROWS.astype(">f4"),
        ROWS.astype("f8"),
        ROWS.astype("i2"),
        ROWS.astype("c8"),
        ROWS[:, 0],
        ROWS[:, None],
        ROWS[:, :0],
        ROWS[:0],
        np.zeros(ROWS.shape, [("a", "f2")]),
        np.full(ROWS.shape, b"ab"),
    ],
    ids=lambda rows: f"{rows.dtype.str} {rows.shape}",
)
def test_rows_of_another_kind_are_refused(tmp_path: Path, rows: NDArray[Any]) -> None:
    refused(make(tmp_path / "store", rows=rows), "its rows are not one block of float16 or float32")


@pytest.mark.parametrize(
    "index",
    [
        {"offsets": [1, 2, 3, 9]},
        {"offsets": [0, 3, 2, 9]},
        {"offsets": [0, 2, 2, 9]},
        {"offsets": [0, -2, 3, 9]},
        {"offsets": [0, 2, 3, 10]},
        {"offsets": [0, 2, 3, 8]},
        {"offsets": [0, 2, 9]},
        {"offsets": [0, 2, 3, 4, 9]},
        {"offsets": [0, 2, 3, 1 << 62]},
        {"offsets": np.array([0, 2, (1 << 63) + 3, 9], "u8")},
        {"offsets": np.zeros(0, "i8")},
        {"ids": IDS[:2]},
        {"ids": [*IDS[:2], IDS[0]]},
        {"durations": DURATIONS[:2]},
        {"checksums": np.zeros(4, "u4")},
        {"ids": IDS[:2], "offsets": [0, 2, 9], "durations": DURATIONS[:2]},
    ],
    ids=str,
)
def test_an_index_that_does_not_fit_the_rows_is_refused(tmp_path: Path, index: dict[str, Any]) -> None:
    refused(make(tmp_path / "store", **index), "its index does not fit its rows")


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("offsets", OFFSETS.astype("f8")),
        ("offsets", OFFSETS[:, None]),
        ("offsets", 9),
        ("offsets", ["0", "2", "3", "9"]),
        ("offsets", h5py.Empty("i8")),
        ("ids", [30, 1, 607]),
        ("ids", np.array([IDS]).astype("S")),
        ("ids", "00607"),
        ("durations", ["10", "2.5", "300"]),
        ("durations", DURATIONS[None]),
        ("durations", DURATIONS.astype("c16")),
        ("checksums", CHECKSUMS.astype("f8")),
        ("checksums", CHECKSUMS[:, None]),
    ],
    ids=str,
)
def test_an_index_of_another_kind_is_refused(tmp_path: Path, name: str, values: Any) -> None:
    refused(make(tmp_path / "store", **{name: values}), f"its {name} are no index of its rows")


@pytest.mark.parametrize("name", ["offsets", "durations", "checksums"])
def test_an_index_that_claims_to_be_huge_is_refused_before_it_is_read(tmp_path: Path, name: str) -> None:
    def huge(file: h5py.File) -> None:
        file.create_dataset(name, (1 << 33,), DATASETS[name].dtype, chunks=(1 << 20,))

    refused(make(tmp_path / "store", huge, **{name: None}), f"its {name} are no index of its rows")


def test_rows_that_are_not_there_are_refused(tmp_path: Path) -> None:
    def huge(file: h5py.File) -> None:
        file.create_dataset("rows", (1 << 50, 1 << 10), "f2")

    refused(make(tmp_path / "store", huge, rows=None), "it is shorter than its rows")


def test_ids_that_are_no_text_or_name_a_video_twice_are_refused(tmp_path: Path) -> None:
    def latin(file: h5py.File) -> None:
        file.create_dataset("ids", data=[b"a", b"b\xff", b"c"], dtype=h5py.string_dtype())

    refused(make(tmp_path / "store", latin, ids=None), ".*decode")
    with pytest.raises(DataError, match=r"'s30-d52' and 's30-d52\.mp4' are ids of the same video"):
        PackedFeatures(path=make(tmp_path / "store", ids=["s30-d52", "b", "s30-d52.mp4"]))
    nothing: dict[str, Any] = {"offsets": [0], "ids": np.array([], object), "durations": [], "rows": ROWS[-1:]}
    with pytest.raises(DataError, match="holds no video features"):
        PackedFeatures(
            path=make(
                tmp_path / "store",
                lambda file: file.create_dataset("ids", (0,), h5py.string_dtype()),
                **{**nothing, "ids": None, "checksums": np.zeros(0, "u4")},
            )
        )


@pytest.mark.parametrize(
    "first",
    [
        b"",
        b"cpnet packed features, 2\n100 1\n",
        b"cpnet packed features, 1",
        b"\0" * 100,
    ],
)
def test_another_format_is_no_packed_store(path: Path, first: bytes) -> None:
    path.write_bytes(first + bytes(SEAL_BYTES - len(first)) + path.read_bytes()[SEAL_BYTES:])
    with pytest.raises(DataError, match="is no packed store"):
        PackedFeatures(path=path)


@pytest.mark.parametrize("text", ["", "x y", "100", "-1 5", "9999999999999999999999 5", "100 5", "1 2 3", "1e3 2"])
def test_a_seal_that_does_not_fit_is_refused(path: Path, text: str) -> None:
    first = f"cpnet packed features, 1\n{text}\n".encode()
    path.write_bytes(first + bytes(SEAL_BYTES - len(first)) + path.read_bytes()[SEAL_BYTES:])
    refused(path, ".*")


@pytest.mark.parametrize("length", [-1, 1 << 42, 1 << 90])
def test_no_more_of_a_huge_file_is_read_than_its_index(path: Path, length: int) -> None:
    with path.open("r+b") as stream:
        stream.write(f"cpnet packed features, 1\n{length} 5\n".encode())
        stream.truncate(1 << 41)  # more than the memory of most machines, and sparse
    refused(path, "its index is not as it was written")


def test_a_file_cut_anywhere_is_refused(path: Path) -> None:
    content = path.read_bytes()
    for length in [*range(0, len(content), 97), len(content) - 1, len(content) - ROWS.nbytes]:
        path.write_bytes(content[:length])
        with pytest.raises(DataError):
            PackedFeatures(path=path)
    path.write_bytes(content + b"more")
    np.testing.assert_array_equal(PackedFeatures(path=path).table(), ROWS)


def test_rows_beyond_the_end_of_a_sealed_file_are_refused(tmp_path: Path) -> None:
    """HDF5 itself refuses a file that is cut; this one is whole, and its rows lie elsewhere."""
    many = np.zeros((1000, 4), "f2")
    content = make(tmp_path / "store", rows=many).read_bytes()
    begin = len(content) - many.nbytes
    # The place of the rows stands in their layout message.
    moved = content.replace((begin - SEAL_BYTES).to_bytes(8, "little"), (begin + 8).to_bytes(8, "little"))
    (tmp_path / "store").write_bytes(moved)
    refused(seal(tmp_path / "store", begin - SEAL_BYTES), ".*")


@given(data=st.data())
def test_flipped_bytes_are_refused_or_found_by_verify(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = make(tmp_path_factory.mktemp("flipped") / "store")
    content = bytearray(path.read_bytes())
    begin = len(content) - ROWS.nbytes
    for place in data.draw(
        st.sets(st.integers(0, len(content) - 1) | st.integers(begin, len(content) - 1), min_size=1)
    ):
        content[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    if bytes(content[:begin]) != make(path.with_name("good")).read_bytes()[:begin]:
        is_packed(path)
        with pytest.raises(DataError):
            PackedFeatures(path=path)
        return
    store = PackedFeatures(path=path)
    assert store.table().tobytes() == bytes(content[begin:])
    with pytest.raises(DataError, match="pack the features again"):
        verify(store)


@given(content=st.binary(max_size=2000))
def test_noise_is_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("noise") / "store"
    for noise in (content, b"cpnet packed features, 1\n" + content):
        path.write_bytes(noise)
        with pytest.raises(DataError):
            PackedFeatures(path=path)


# The mapping


def test_released_pages_are_read_again(path: Path) -> None:
    store = PackedFeatures(path=path)
    table, first = store.table(), store.stored(IDS[0])
    for _ in range(2):
        store.release()
        np.testing.assert_array_equal(table, ROWS)
        np.testing.assert_array_equal(first, VIDEOS[IDS[0]])
        np.testing.assert_array_equal(store.table(), ROWS)
    store.close()
    store.release()
    np.testing.assert_array_equal(store.table(), ROWS)


def test_arrays_outlive_the_store_and_a_closed_store_reads_again(path: Path) -> None:
    store = PackedFeatures(path=path)
    table = store.table()
    store.close()
    np.testing.assert_array_equal(table, ROWS)
    np.testing.assert_array_equal(store.rows("00607"), VIDEOS["00607"])
    del store
    gc.collect()
    np.testing.assert_array_equal(table, ROWS)


def test_what_is_written_to_the_table_stays_in_this_process(path: Path) -> None:
    before = path.read_bytes()
    store = PackedFeatures(path=path)
    store.table()[0] = 7
    assert path.read_bytes() == before
    np.testing.assert_array_equal(PackedFeatures(path=path).table(), ROWS)


def test_who_has_a_store_mapped_keeps_it_as_it_was_when_it_is_replaced(path: Path) -> None:
    store = PackedFeatures(path=path)
    pickled = pickle.dumps(store)
    other = ROWS.copy()
    other[:-1] += 1
    make(path.with_name("new"), rows=other).replace(path)
    os.utime(path, ns=(1, 1))  # on a coarse clock both might have been written at once
    np.testing.assert_array_equal(store.table(), ROWS)
    store.close()
    for late in (store, pickle.loads(pickled)):
        for _ in range(2):
            with pytest.raises(DataError, match="changed since it was opened; start again"):
                late.table()
    path.unlink()
    with pytest.raises(DataError, match="No such file"):
        store.table()


def test_a_pickle_carries_no_rows(tmp_path: Path) -> None:
    rows = np.zeros((100_001, 4), "f2")
    offsets = [0, 50_000, 99_999, 100_000]
    store = PackedFeatures(path=make(tmp_path / "store", rows=rows, offsets=offsets))
    store.table()
    pickled = pickle.dumps(store)
    assert len(pickled) < 5000
    assert pickle.loads(pickled).place("00607") == (99_999, 1)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_another_process_reads_the_same(path: Path, method: str) -> None:
    store = PackedFeatures(path=path)
    with multiprocessing.get_context(method).Pool(1) as pool:
        for name, rows in VIDEOS.items():
            np.testing.assert_array_equal(pool.apply(operator.methodcaller("rows", name), (store,)), rows)


def test_a_fork_reads_from_the_mapping_of_its_parent(path: Path) -> None:
    store = PackedFeatures(path=path)
    path.unlink()
    process = multiprocessing.get_context("fork").Process(
        target=np.testing.assert_array_equal, args=(store.table(), ROWS)
    )
    process.start()
    process.join()
    assert process.exitcode == 0
