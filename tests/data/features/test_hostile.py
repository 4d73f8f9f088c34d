"""Untrusted files, damaged or malicious: each causes an error that names the file or the video."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import struct
import time
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from cpnet.data.features import FeatureSource, open_features
from cpnet.errors import DataError
from packs import (
    ROW_WRITERS,
    WRITERS,
    Payload,
    Writer,
    npy_header,
    random,
    write_flat,
    write_group,
    write_npy,
    write_windows,
)

ROWS = random(6, 4)
HUGE = 10**12  # rows


@contextmanager
def bounded() -> Iterator[None]:
    """Check that memory and time do not grow with the size that a file states."""
    tracemalloc.start()
    began = time.process_time()
    try:
        yield
        assert time.process_time() - began < 5
        assert tracemalloc.get_traced_memory()[1] < 20e6
    finally:
        tracemalloc.stop()


def refused(source: FeatureSource, video: str, message: str) -> None:
    """Check that every read of a video fails."""
    for read in (source.rows, source.stored, source.length):
        with pytest.raises(DataError, match=message):
            read(video)


@pytest.fixture(params=ROW_WRITERS)
def write_rows(request: pytest.FixtureRequest) -> Writer:
    return ROW_WRITERS[request.param]


# --- code in a file


def write_pickle_in_archive(path: Path, payload: Payload) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("features.npy", pickle.dumps(payload))


def write_pickle(path: Path, payload: Payload) -> None:
    path.write_bytes(pickle.dumps(payload, protocol=2))  # torch's own protocol


MALICIOUS: dict[str, tuple[str, Callable[[Path, Payload], object]]] = {
    "npy of objects": ("npy", lambda path, payload: np.save(path, np.array([[payload]], dtype=object))),
    "npy pickle": ("npy", write_pickle),
    "npz of objects": ("npz", lambda path, payload: np.savez(path, features=np.array([[payload]], dtype=object))),
    "npz with a pickle": ("npz", write_pickle_in_archive),
    "npz pickle": ("npz", write_pickle),
    "pt of an object": ("pt", lambda path, payload: torch.save(payload, path)),
    "legacy pt": ("pt", lambda path, payload: torch.save(payload, path, _use_new_zipfile_serialization=False)),
    "pt beside a tensor": ("pt", lambda path, payload: torch.save({"features": torch.ones(2, 4), "x": payload}, path)),
    "pt pickle": ("pt", write_pickle),
}


@pytest.mark.parametrize("kind", MALICIOUS)
@pytest.mark.parametrize("first", [True, False], ids=["opening", "reading"])
def test_pickle_is_never_executed(tmp_path: Path, kind: str, first: bool) -> None:
    proof, folder = tmp_path / "proof", tmp_path / "pack"
    pickle.loads(pickle.dumps(Payload(proof)))
    proof.rmdir()  # raises if the payload does not work
    folder.mkdir()
    suffix, save = MALICIOUS[kind]
    save(folder / f"bad.{suffix}", Payload(proof))
    reads: list[Callable[[FeatureSource, str], object]] = [FeatureSource.rows, FeatureSource.stored]
    if not first:
        WRITERS[suffix](folder, {"a": ROWS})
        if not kind.endswith("of objects"):  # whose headers have a shape
            reads.append(FeatureSource.length)
    for read in reads:
        with pytest.raises(DataError, match=rf"bad\.{suffix} cannot be read as a \.{suffix} array \(.*write or copy"):
            read(open_features(path=folder), "bad")
    assert not proof.exists()


def test_archive_of_all_videos_is_not_trusted(tmp_path: Path) -> None:
    path = tmp_path / "pack.npz"
    np.savez(path, a=ROWS, objects=np.array([[Payload(tmp_path / "proof")]], dtype=object))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("pickle.npy", pickle.dumps(Payload(tmp_path / "proof")))
        archive.writestr("huge.npy", npy_header((HUGE, 4)) + bytes(64))
        archive.writestr("../up.npy", npy_header((1, 4)) + bytes(16))
    source = open_features(path=path)
    for name in ("objects", "pickle", "huge"):
        with bounded(), pytest.raises(DataError, match=r"pack\.npz cannot be read as a \.npz array"):
            source.rows(name)
    np.testing.assert_array_equal(source.rows("../up"), np.zeros((1, 4)))  # read inside the archive
    assert [file.name for file in tmp_path.iterdir()] == ["pack.npz"]


def test_pickle_among_windows_or_named_hdf5_is_never_executed(tmp_path: Path) -> None:
    folder = tmp_path / "pack"
    folder.mkdir()
    write_windows(folder, {"a": ROWS})
    np.save(folder / "a_25_89.npy", np.array([[Payload(tmp_path / "proof")]], dtype=object))
    with pytest.raises(DataError, match=r"a_25_89\.npy cannot be read as a \.npy array"):
        open_features(path=folder).rows("a")
    write_pickle(tmp_path / "pack.hdf5", Payload(tmp_path / "proof"))
    with pytest.raises(DataError, match=r"pack\.hdf5 is a pickle, which can run any program"):
        open_features(path=tmp_path / "pack.hdf5")
    assert not (tmp_path / "proof").exists()


# --- files without features


@pytest.mark.parametrize("layout", ["npy", "npz", "pt"])
def test_file_of_something_else_is_named(tmp_path: Path, layout: str) -> None:
    WRITERS[layout](tmp_path, {"a": ROWS})
    for place, content in enumerate([b"", b"hello\n", b"PK\x03\x04", b"\x93NUMPY", b"\x80\x02.", bytes(range(99))]):
        (tmp_path / f"{place}.{layout}").write_bytes(content)
    (tmp_path / f"folder.{layout}").mkdir()
    os.mkfifo(tmp_path / f"pipe.{layout}")  # opening it would wait for a writer
    (tmp_path / f"dangling.{layout}").symlink_to(tmp_path / "nowhere")
    source = open_features(path=tmp_path, dim=4)
    refused(source, "dangling", rf"dangling\.{layout} is a dead link to .*nowhere; restore its target")
    for name in (*"012345", "folder", "pipe"):
        refused(source, name, rf"{name}\.{layout} cannot be read as a \.{layout} array \(.+\); write")


@pytest.mark.parametrize("writer", [write_flat, write_group])
def test_hdf5_datasets_of_other_types_are_refused(tmp_path: Path, writer: Writer) -> None:
    path = writer(tmp_path, {"a": ROWS, "scalar": np.array(1, "f4"), "records": np.zeros((2, 4), [("x", "f4")])})
    group = "" if writer is write_flat else "/features"
    with h5py.File(path, "a") as file:
        file[f"null{group}"] = h5py.Empty("f4")
        file[f"text{group}"] = [["a", "b"], ["c", "d"]]
        file[f"fixed{group}"] = np.array([[b"a", b"b"]])
        file[f"references{group}"] = np.array([[file["a"].ref] * 4], dtype=h5py.ref_dtype)
        file[f"opaque{group}"] = np.zeros((2, 4), "V7")
        file.create_dataset(f"ragged{group}", (1, 4), h5py.vlen_dtype("f4"))[0, 0] = ROWS[0]
        file[f"type{group}"] = np.dtype("f4")
    source = open_features(path=path)
    np.testing.assert_array_equal(source.rows("a"), ROWS)
    for name in ("null", "type"):
        refused(source, name, rf"pack\.hdf5: '{name}' holds no array of features")
    refused(source, "scalar", r"pack\.hdf5: features of 'scalar' have shape \(\), not \(N, V\)")
    for name in ("records", "text", "fixed", "references", "opaque", "ragged"):
        for read in (source.rows, source.stored):
            with pytest.raises(DataError, match=rf"pack\.hdf5: features of '{name}' are .*, not floats"):
                read(name)


# --- ids


def test_ids_that_are_paths_match_nothing(write_rows: Writer, tmp_path: Path) -> None:
    folder = tmp_path / "in" / "pack"
    folder.mkdir(parents=True)
    path = write_rows(folder, {"a": ROWS})
    write_rows(tmp_path, {"x": ROWS})
    write_npy(tmp_path / "in", {"y": ROWS})
    source = open_features(path=path)
    ids = ["../../x", "../y", str(tmp_path / "x"), "./a", "a/", "/a", "a/features", "../pack/a", "..", ".", "", "a\0"]
    ids += ["a\n", "a\nb", "\r", "x" * 5000, "../" * 2000 + "x", "~/x", "a\\..\\x", "%2e%2e/x", "a.npy"]
    assert source.missing([*ids, "a"]) == ids
    for video in ids:
        assert video not in source
        refused(source, video, "has no features of video .*'a'.*; set dataset.features.path")


@pytest.mark.parametrize("names", [("s30-d52.avi", "s30-d52"), ("v_QOlSCBRmfWY", "QOlSCBRmfWY"), ("a.mp4", "a.MKV")])
def test_two_ids_of_one_video_are_named(write_rows: Writer, tmp_path: Path, names: tuple[str, str]) -> None:
    path = write_rows(tmp_path, {"other": ROWS, **dict.fromkeys(names, ROWS)})
    one, two = sorted(names)
    with pytest.raises(DataError, match=f"{path}: '{one}' and '{two}' are ids of the same video; remove one"):
        open_features(path=path)


@pytest.mark.parametrize("group", [b"", b"a/"])
def test_hdf5_name_that_is_not_utf8_is_refused(tmp_path: Path, group: bytes) -> None:
    with h5py.File(tmp_path / "pack.hdf5", "w") as file:
        file[group + b"caf\xe9"] = ROWS
    with pytest.raises(DataError, match=r"pack\.hdf5: b'caf\\xe9' is not a valid name in an HDF5 file"):
        open_features(path=tmp_path / "pack.hdf5")


def test_forged_name_cannot_leave_the_file(tmp_path: Path) -> None:
    secret = tmp_path / "other"
    secret.mkdir()
    write_flat(secret, {"secret": ROWS})
    path = write_flat(tmp_path, {"outQsecret": ROWS + 1})
    with h5py.File(path, "a") as file:
        file["out"] = h5py.ExternalLink(str(secret / "pack.hdf5"), "/")
    path.write_bytes(path.read_bytes().replace(b"outQsecret", b"out/secret"))
    with h5py.File(path) as file:  # what a lookup of the forged name finds
        assert list(file) == ["out", "out/secret"]
        np.testing.assert_array_equal(file["out/secret"][()], ROWS)
    with pytest.raises(DataError, match=r"pack\.hdf5: 'out/secret' is not a valid name in an HDF5 file"):
        open_features(path=path)


# --- wrong sizes


HEADERS = {
    "rows": npy_header((HUGE, 4)) + bytes(64),
    "columns": npy_header((1, HUGE)) + bytes(64),
    "overflow": npy_header((2**62, 4)) + bytes(64),
    "beyond": npy_header((10**30, 4)) + bytes(64),
    "objects": npy_header((HUGE, 4), "|O") + bytes(64),
    "fields": npy_header((6, 4), [("x", "<f4", (10**6, 10**3))]) + bytes(64),
    "empty": npy_header((HUGE, 4), "|V0") + bytes(64),
    "negative": npy_header((-1, 4)) + bytes(64),
    "negatives": npy_header((-6, -4)) + bytes(64),
    "one more": npy_header((5, 4)) + bytes(64),
}


@pytest.mark.parametrize("header", HEADERS)
@pytest.mark.parametrize("layout", ["npy", "npz", "windows"])
def test_header_is_not_trusted(tmp_path: Path, layout: str, header: str) -> None:
    ROW_WRITERS[layout](tmp_path, {"a": ROWS, "bad": ROWS})
    file = tmp_path / {"npy": "bad.npy", "npz": "bad.npz", "windows": "bad_25_89.npy"}[layout]
    if layout == "npz":
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("features.npy", HEADERS[header])
    else:
        file.write_bytes(HEADERS[header])
    source = open_features(path=tmp_path)
    with bounded(), pytest.raises(DataError, match=r"bad"):
        source.rows("bad")


def test_size_in_an_archive_is_not_trusted(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", features=ROWS)
    with zipfile.ZipFile(tmp_path / "bad.npz", "w") as archive:
        archive.writestr("features.npy", npy_header((900_000_000, 1)) + bytes(64))
    content = (tmp_path / "bad.npz").read_bytes()
    entry = content.index(b"PK\x01\x02")
    sizes = struct.pack("<LL", 0xFFFFFFF0, 0xFFFFFFF0)
    (tmp_path / "bad.npz").write_bytes(content[: entry + 20] + sizes + content[entry + 28 :])
    with zipfile.ZipFile(tmp_path / "bad.npz") as archive:
        assert archive.infolist()[0].file_size == 0xFFFFFFF0
    source = open_features(path=tmp_path)
    with bounded(), pytest.raises(DataError, match=r"bad\.npz cannot be read .*but its header of shape"):
        source.rows("bad")


def test_compressed_constant_rows_are_read(tmp_path: Path) -> None:
    rows = np.zeros((20_000, 64), "f4")
    np.savez_compressed(tmp_path / "a.npz", features=rows)
    assert rows.nbytes > 900 * (tmp_path / "a.npz").stat().st_size
    assert open_features(path=tmp_path).rows("a").shape == rows.shape


def test_expanded_tensor_is_refused(tmp_path: Path) -> None:
    torch.save(torch.ones(2, 4), tmp_path / "a.pt")
    torch.save(torch.ones(1, 4).expand(HUGE, 4), tmp_path / "bad.pt")
    torch.save(torch.ones(1, 4).bfloat16().expand(HUGE, 4), tmp_path / "half.pt")
    source = open_features(path=tmp_path)
    with bounded():
        for name in ("bad", "half"):
            refused(source, name, rf"{name}\.pt holds a tensor of shape \({HUGE}, 4\) that repeats few")


@pytest.mark.parametrize("writer", [write_flat, write_group])
@pytest.mark.parametrize(
    "how",
    [
        {},
        {"chunks": (1000, 4)},
        {"chunks": (1000, 4), "compression": "gzip"},
        {"chunks": (1000, 4), "maxshape": (None, 4), "fletcher32": True},
    ],
    ids=["contiguous", "chunked", "gzip", "checked"],
)
def test_hdf5_rows_that_were_never_written_are_refused(tmp_path: Path, writer: Writer, how: dict[str, Any]) -> None:
    path = writer(tmp_path, {"a": ROWS})
    counts = {"huge": HUGE, "small": 2000, "huge begun": HUGE, "small begun": 2000}
    with h5py.File(path, "a") as file:
        for name, count in counts.items():
            inner = name if writer is write_flat else f"{name}/features"
            dataset = file.create_dataset(inner, (count, 4), dtype="f4", **how)
            if how and name.endswith("begun"):
                dataset[:1000] = 1
    source = open_features(path=path)
    with bounded():
        for name, count in counts.items():
            refused(source, name, rf"features of '{name}' have shape \({count}, 4\), but were not all written")


@pytest.mark.parametrize(
    "how",
    [
        {"chunks": (3, 3)},
        {"chunks": (3, 3), "compression": "gzip", "shuffle": True, "fletcher32": True},
        {"chunks": (100, 4), "maxshape": (None, 4)},
        {"compression": "lzf"},
        {"scaleoffset": 4},
    ],
)
@pytest.mark.parametrize("libver", ["earliest", "latest"])
def test_hdf5_rows_are_read_however_they_are_stored(tmp_path: Path, how: dict[str, Any], libver: str) -> None:
    rows = (np.arange(44).reshape(11, 4) / 4).astype("f4")
    compact = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    compact.set_layout(h5py.h5d.COMPACT)
    with h5py.File(tmp_path / "pack.hdf5", "w", libver=libver) as file:
        file.create_dataset("a", data=rows, **how)
        file.create_dataset("b", (3, 4), dtype="f4", **how)[...] = rows[:3]
        space = h5py.h5s.create_simple(rows.shape)
        h5py.Dataset(h5py.h5d.create(file.id, b"c", h5py.h5t.IEEE_F32LE, space, dcpl=compact))[...] = rows
    source = open_features(path=tmp_path / "pack.hdf5")
    for name, count in {"a": 11, "b": 3, "c": 11}.items():
        np.testing.assert_array_equal(source.rows(name), rows[:count])


def test_empty_hdf5_chunk_is_refused_before_the_library_crashes(tmp_path: Path) -> None:
    path = tmp_path / "pack.hdf5"
    with h5py.File(path, "w") as file:
        file["a"] = ROWS
        file.create_dataset("bad", data=ROWS, chunks=(2, 4), compression="gzip", fletcher32=True)
        size, place = file["bad"].id.get_chunk_info(1).size, file["bad"].id.get_chunk_info(1).byte_offset
    content = bytearray(path.read_bytes())
    # In the index: size and filter mask of a chunk, its place among the rows (two dimensions and the values' bytes).
    entry = struct.pack("<LLQQQQ", size, 0, 2, 0, 0, place)
    assert content.count(entry) == 1
    at = content.index(entry)
    content[at : at + 4] = bytes(4)
    path.write_bytes(content)
    refused(open_features(path=path), "bad", r"features of 'bad' have shape \(6, 4\), but were not all written")


# --- HDF5


@pytest.mark.parametrize("libver", ["earliest", "latest"])
@pytest.mark.parametrize("group", ["", "/features"])
def test_hdf5_file_cut_anywhere_is_refused(tmp_path: Path, group: str, libver: str) -> None:
    path = tmp_path / "pack.hdf5"
    with h5py.File(path, "w", libver=libver) as file:
        for i in range(3):
            file[f"v{i}{group}"] = random(50, 4) + i
    whole = path.read_bytes()
    for length in [*range(0, len(whole), 97), *range(len(whole) - 20, len(whole))]:
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match=rf"{path.name}: cannot read the file .*damaged, download it again"):
            open_features(path=path)


def link_out(parent: h5py.Group, name: str, kind: str, outside: Path) -> None:
    """Create a link to data elsewhere in a group."""
    links = {
        "external": h5py.ExternalLink(str(outside / "pack.hdf5"), "/secret"),
        "soft": h5py.SoftLink("/a"),
        "dangling": h5py.SoftLink("/nowhere"),
        "loop": h5py.SoftLink(f"{parent.name.rstrip('/')}/{name}"),
    }
    if kind in links:
        parent[name] = links[kind]
    elif kind == "raw":
        parent.create_dataset(name, ROWS.shape, "f4", external=[(str(outside / "raw"), 0, ROWS.nbytes)])
    else:
        layout = h5py.VirtualLayout(shape=ROWS.shape, dtype="f4")
        layout[:] = h5py.VirtualSource(str(outside / "pack.hdf5"), "secret", shape=ROWS.shape)
        parent.create_virtual_dataset(name, layout)


@pytest.mark.parametrize("kind", ["external", "soft", "dangling", "loop", "raw", "virtual"])
@pytest.mark.parametrize("place", ["first", "later", "inner"])
def test_links_out_of_an_hdf5_file_are_not_followed(tmp_path: Path, kind: str, place: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    write_flat(outside, {"secret": ROWS})
    (outside / "raw").write_bytes(ROWS.tobytes())
    path = (write_group if place == "inner" else write_flat)(tmp_path, {"a": ROWS})
    name = "0" if place == "first" else "z"
    with h5py.File(path, "a") as file:
        if place == "inner":
            link_out(file.create_group("z"), "features", kind, outside)
        else:
            link_out(file, name, kind, outside)
    message = (
        rf"pack\.hdf5: '{'features' if place == 'inner' else name}' is a link to data elsewhere, .*; copy the data"
    )
    if place == "first":
        with pytest.raises(DataError, match=message):
            open_features(path=path)
    else:
        refused(open_features(path=path), name, message)


def test_groups_that_contain_themselves_are_refused(tmp_path: Path) -> None:
    path = write_group(tmp_path, {"a": ROWS})
    with h5py.File(path, "a") as file:
        file["root"] = file["/"]
        file["self/features"] = 1
        del file["self/features"]
        file["self/features"] = file["self"]
        file["one/features"] = file["a"]
        file["a/back"] = file["/"]
    source = open_features(path=path, key="features")
    np.testing.assert_array_equal(source.rows("a"), ROWS)
    refused(source, "root", r"group 'root' holds 'a', 'one', 'root', 'self', not 'features'")
    for name in ("self", "one"):
        refused(source, name, f"'{name}' holds no array of features")
    with pytest.raises(DataError, match=r"pack\.hdf5: group 'root' is in the file twice; write the file again"):
        open_features(path=path)


def read_text(path: Path) -> None:
    with pytest.raises(DataError, match="features of 'text' are object, not floats"):
        open_features(path=path).rows("text")


@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
def test_text_is_not_read_from_a_damaged_heap(tmp_path: Path) -> None:
    path = write_flat(tmp_path, {"a": ROWS})
    with h5py.File(path, "a") as file:
        file["text"] = [["one", "two"]]
    content = bytearray(path.read_bytes())
    heap = content.index(b"GCOL")
    content[heap + 16 : heap + 48] = bytes(32)  # the first item, from which the library looks for the next for ever
    path.write_bytes(content)
    child = multiprocessing.get_context("fork").Process(target=read_text, args=(path,))
    child.start()
    child.join(20)
    try:
        assert child.exitcode == 0
    finally:
        child.kill()  # nothing else ends a loop inside the library
