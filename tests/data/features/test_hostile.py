"""Files that somebody else made, by mistake or on purpose: each ends in an error that names the file or the video."""

from __future__ import annotations

import io
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
from numpy.typing import NDArray

from cpnet.data.features import FeatureSource, open_features
from cpnet.data.moment import DataError
from packs import ROW_WRITERS, WRITERS, Writer, random, write_flat, write_group, write_npy, write_windows

ROWS = random(6, 4)
HUGE = 10**12  # rows


@contextmanager
def bounded() -> Iterator[None]:
    """Neither memory nor time goes with what a file claims to hold."""
    tracemalloc.start()
    began = time.process_time()
    try:
        yield
        assert time.process_time() - began < 5
        assert tracemalloc.get_traced_memory()[1] < 20e6
    finally:
        tracemalloc.stop()


def refused(source: FeatureSource, video: str, message: str) -> None:
    """Nothing of a video can be had."""
    for read in (source.rows, source.stored, source.length):
        with pytest.raises(DataError, match=message):
            read(video)


@pytest.fixture(params=ROW_WRITERS)
def write_rows(request: pytest.FixtureRequest) -> Writer:
    return ROW_WRITERS[request.param]


# --- code in a file


class Payload:
    """Makes a folder when it is unpickled."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.proof),)


def npy_object(path: Path, payload: Payload) -> None:
    np.save(path, np.array([[payload]], dtype=object), allow_pickle=True)


def npz_object(path: Path, payload: Payload) -> None:
    np.savez(path, features=np.array([[payload]], dtype=object))


def npz_pickle(path: Path, payload: Payload) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("features.npy", pickle.dumps(payload))


def plain_pickle(path: Path, payload: Payload) -> None:
    path.write_bytes(pickle.dumps(payload, protocol=2))  # torch's own


def torch_object(path: Path, payload: Payload) -> None:
    torch.save(payload, path)


def torch_legacy(path: Path, payload: Payload) -> None:
    torch.save(payload, path, _use_new_zipfile_serialization=False)


def torch_hidden(path: Path, payload: Payload) -> None:
    torch.save({"features": torch.ones(2, 4), "meta": payload}, path)


@pytest.mark.parametrize(
    ("suffix", "save"),
    [
        ("npy", npy_object),
        ("npy", plain_pickle),
        ("npz", npz_object),
        ("npz", npz_pickle),
        ("npz", plain_pickle),
        ("pt", torch_object),
        ("pt", torch_legacy),
        ("pt", torch_hidden),
        ("pt", plain_pickle),
    ],
)
@pytest.mark.parametrize("first", [True, False], ids=["opening", "reading"])
def test_a_pickle_is_never_executed(
    tmp_path: Path, suffix: str, save: Callable[[Path, Payload], None], first: bool
) -> None:
    proof = tmp_path / "proof"
    pickle.loads(pickle.dumps(Payload(proof)))
    proof.rmdir()  # raises where the payload is a dud
    folder = tmp_path / "pack"
    folder.mkdir()
    save(folder / f"bad.{suffix}", Payload(proof))
    if not first:
        WRITERS[suffix](folder, {"a": ROWS})
        open_features(path=folder)
    for read in (FeatureSource.rows, FeatureSource.stored):
        with pytest.raises(DataError, match=rf"bad\.{suffix} cannot be read as a \.{suffix} array \(.*make or copy it"):
            read(open_features(path=folder), "bad")
    if not first and save not in (npy_object, npz_object):  # whose headers have a shape
        with pytest.raises(DataError, match=rf"bad\.{suffix} cannot be read as a \.{suffix} array"):
            open_features(path=folder).length("bad")
    assert not proof.exists()


def test_a_pickle_among_windows_is_never_executed(tmp_path: Path) -> None:
    folder = tmp_path / "pack"
    folder.mkdir()
    write_windows(folder, {"a": ROWS})
    npy_object(folder / "a_25_89.npy", Payload(tmp_path / "proof"))
    with pytest.raises(DataError, match=r"a_25_89\.npy cannot be read as a \.npy array"):
        open_features(path=folder).rows("a")
    assert not (tmp_path / "proof").exists()


def test_a_pickle_named_hdf5_is_never_executed(tmp_path: Path) -> None:
    plain_pickle(tmp_path / "pack.hdf5", Payload(tmp_path / "proof"))
    with pytest.raises(DataError, match=r"pack\.hdf5: cannot read the file .*is no HDF5 file"):
        open_features(path=tmp_path / "pack.hdf5")
    assert not (tmp_path / "proof").exists()


# --- other things than features


@pytest.mark.parametrize("layout", ["npy", "npz", "pt"])
@pytest.mark.parametrize("content", [b"", b"hello\n", b"PK\x03\x04", b"\x93NUMPY", b"\x80\x02.", bytes(range(99))])
def test_a_file_that_is_something_else_is_named(tmp_path: Path, layout: str, content: bytes) -> None:
    WRITERS[layout](tmp_path, {"a": ROWS})
    (tmp_path / f"bad.{layout}").write_bytes(content)
    refused(open_features(path=tmp_path), "bad", rf"bad\.{layout} cannot be read as a \.{layout} array \(.+\); make or")


@pytest.mark.parametrize("layout", ["npy", "npz", "pt"])
def test_what_is_no_file_at_all_is_named(tmp_path: Path, layout: str) -> None:
    WRITERS[layout](tmp_path, {"a": ROWS})
    (tmp_path / f"folder.{layout}").mkdir()
    os.mkfifo(tmp_path / f"pipe.{layout}")  # to open it would wait for a writer
    (tmp_path / f"dangling.{layout}").symlink_to(tmp_path / "nowhere")
    source = open_features(path=tmp_path)
    for name in ("folder", "pipe", "dangling"):
        refused(source, name, rf"{name}\.{layout} cannot be read")


@pytest.mark.parametrize("layout", ["npy", "npz", "pt"])
def test_a_file_that_was_cut_anywhere_is_named(tmp_path: Path, layout: str) -> None:
    WRITERS[layout](tmp_path, {"a": ROWS, "cut": ROWS})
    source = open_features(path=tmp_path)
    file = tmp_path / f"cut.{layout}"
    whole = file.read_bytes()
    for length in range(0, len(whole), max(1, len(whole) // 40)):
        file.write_bytes(whole[:length])
        with pytest.raises(DataError, match=rf"cut\.{layout} cannot be read"):
            source.rows("cut")
    file.write_bytes(whole)
    np.testing.assert_array_equal(source.rows("cut"), ROWS)


@pytest.mark.parametrize("layout", ["npy", "npz"])
def test_arrays_of_objects_text_and_records_are_refused(tmp_path: Path, layout: str) -> None:
    bad: dict[str, NDArray[Any]] = {
        "objects": np.array([[{}, 1]], dtype=object),
        "text": np.array([["0.5", "1"]]),
        "records": np.zeros((2, 4), [("x", "f4")]),
        "complex": np.zeros((2, 4), "c8"),
        "times": np.zeros((2, 4), "M8[s]"),
        "flags": np.zeros((2, 4), "?"),
        "nothing": np.zeros((2, 4), "V0"),
    }
    WRITERS[layout](tmp_path, {"a": ROWS, **bad})
    source = open_features(path=tmp_path)
    for name in bad:
        message = r"objects\.np. cannot be read" if name == "objects" else rf"features of '{name}' are .*, not floats"
        for read in (source.rows, source.stored):
            with pytest.raises(DataError, match=message):
                read(name)


@pytest.mark.parametrize("writer", [write_flat, write_group])
def test_hdf5_datasets_of_other_kinds_are_refused(tmp_path: Path, writer: Writer) -> None:
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
        refused(source, name, rf"pack\.hdf5: '{name}' holds no array where its features should be")
    refused(source, "scalar", r"pack\.hdf5: features of 'scalar' have shape \(\); \(N, V\) or")
    for name in ("records", "text", "fixed", "references", "opaque", "ragged"):
        for read in (source.rows, source.stored):
            with pytest.raises(DataError, match=rf"pack\.hdf5: features of '{name}' are .*, not floats"):
                read(name)


def test_defects_of_one_video_leave_the_others(write_rows: Writer, tmp_path: Path) -> None:
    hole = ROWS.copy()
    hole[4, 1] = np.nan
    endless = ROWS.copy()
    endless[0, 0] = -np.inf
    source = open_features(
        path=write_rows(tmp_path, {"a": ROWS, "endless": endless, "hole": hole, "wide": random(6, 5), "z": ROWS})
    )
    for name, message in {
        "endless": r"'endless' hold NaN or infinity in 1 of 6 rows, first in row 0; extract them again",
        "hole": r"'hole' hold NaN or infinity in 1 of 6 rows, first in row 4; extract them again",
        "wide": r"'wide' are 5 wide, not 4; if the pack is the right one, set dataset\.features\.dim=5",
    }.items():
        with pytest.raises(DataError, match=f"{source.path}: features of {message}"):
            source.rows(name)
    np.testing.assert_array_equal(source.rows("z"), ROWS)


@pytest.mark.parametrize("layout", WRITERS)
@pytest.mark.parametrize("first", [True, False])
def test_zero_rows_or_columns_are_refused(tmp_path: Path, layout: str, first: bool) -> None:
    bad = {f"{'0' if first else 'x'}{i}": np.zeros(shape, "f4") for i, shape in enumerate([(0, 4), (6, 0), (0, 0)])}
    source = open_features(path=WRITERS[layout](tmp_path, {**bad, "a": ROWS}))
    assert source.dim == 4
    for name in bad:
        refused(source, name, rf"features of '{name}' are empty, shape \(\d, \d\); extract them again")


@pytest.mark.parametrize("suffix", ["npy", "npz", "pt"])
def test_one_damaged_file_that_comes_first_does_not_hide_the_others(tmp_path: Path, suffix: str) -> None:
    source_path = WRITERS[suffix](tmp_path, {"b": ROWS})
    (source_path / f"a.{suffix}").write_bytes(b"damaged")
    source = open_features(path=source_path)
    np.testing.assert_array_equal(source.rows("b"), ROWS)
    refused(source, "a", rf"a\.{suffix} cannot be read")


@pytest.mark.parametrize("layout", WRITERS)
def test_a_pack_of_nothing_but_empty_arrays_is_refused_on_opening(tmp_path: Path, layout: str) -> None:
    path = WRITERS[layout](tmp_path, {f"{i}": np.zeros((0, 4), "f4") for i in range(30)})
    with pytest.raises(DataError, match=r"features of '0' are empty, shape \(0, 4\); extract them again"):
        open_features(path=path)


def test_windows_without_columns_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"features of 'a' are empty, shape \(6, 0\)"):
        open_features(path=write_windows(tmp_path, {"a": np.zeros((6, 0), "f4")}))


# --- ids


def test_ids_that_are_paths_lead_nowhere(write_rows: Writer, tmp_path: Path) -> None:
    folder = tmp_path / "in" / "pack"
    folder.mkdir(parents=True)
    path = write_rows(folder, {"a": ROWS})
    write_rows(tmp_path, {"x": ROWS})
    write_npy(tmp_path / "in", {"y": ROWS})
    source = open_features(path=path)
    ids = ["../../x", "../y", str(tmp_path / "x"), "./a", "a/", "/a", "a/features", "../pack/a", "..", ".", "", "a\0"]
    ids += ["a\n", "a\nb", "\r", "x" * 5000, "../" * 2000 + "x", "~/x", "a\\..\\x", "%2e%2e/x"]
    assert source.missing([*ids, "a"]) == ids
    for video in ids:
        assert video not in source
        refused(source, video, "has no features of video .*'a'.*; set dataset.features.path")


@pytest.mark.parametrize("names", [("s30-d52.avi", "s30-d52"), ("v_QOlSCBRmfWY", "QOlSCBRmfWY"), ("a.mp4", "a.MKV")])
def test_two_ids_of_one_video_are_named(write_rows: Writer, tmp_path: Path, names: tuple[str, str]) -> None:
    path = write_rows(tmp_path, {"other": ROWS, **dict.fromkeys(names, ROWS)})
    one, two = sorted(names)
    with pytest.raises(DataError, match=f"{path}: '{one}' and '{two}' are ids of the same video; remove one of them"):
        open_features(path=path)


@pytest.mark.parametrize("writer", [write_flat, write_group])
def test_hdf5_ids_may_be_any_text(tmp_path: Path, writer: Writer) -> None:
    names = ["видео", "café", "a b", "..", "a\nb", "100%", "'; drop", "😀", "a\\b", "~"]
    if writer is write_group:
        names.remove("..")  # h5py itself takes "../features" for a way up
    path = writer(tmp_path, {name: ROWS + i for i, name in enumerate(names)})
    source = open_features(path=path)
    assert list(source.ids()) == sorted(names)
    for i, name in enumerate(names):
        np.testing.assert_array_equal(source.rows(name), ROWS + i)


def test_a_slash_in_the_name_of_a_dataset_makes_groups(tmp_path: Path) -> None:
    source = open_features(path=write_flat(tmp_path, {"s30/d52": ROWS, "s30/d53": ROWS}), key="d53")
    assert list(source.ids()) == ["s30"]
    assert "s30/d52" not in source


def test_an_hdf5_name_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = write_flat(tmp_path, {"a": ROWS})
    with h5py.File(path, "a") as file:
        file[b"caf\xe9"] = ROWS
    with pytest.raises(DataError, match=r"pack\.hdf5: b'caf\\xe9' can be no name in an HDF5 file of UTF-8 names"):
        open_features(path=path)
    with h5py.File(path, "w") as file:
        file.create_group("a")[b"caf\xe9"] = ROWS
    with pytest.raises(DataError, match=r"pack\.hdf5: b'caf\\xe9' can be no name"):
        open_features(path=path)


def test_a_forged_name_does_not_lead_out_of_the_file(tmp_path: Path) -> None:
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
    with pytest.raises(DataError, match=r"pack\.hdf5: 'out/secret' can be no name in an HDF5 file"):
        open_features(path=path)


# --- sizes that are not there


def npy_bytes(shape: tuple[int, ...], descr: Any = "<f4", data: bytes = bytes(64)) -> bytes:
    stream = io.BytesIO()
    header = {"descr": descr, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_2_0(stream, header)
    return stream.getvalue() + data


PROMISES = {
    "rows": npy_bytes((HUGE, 4)),
    "columns": npy_bytes((1, HUGE)),
    "overflow": npy_bytes((2**62, 4)),
    "beyond": npy_bytes((10**30, 4)),
    "objects": npy_bytes((HUGE, 4), "|O"),
    "fields": npy_bytes((6, 4), [("x", "<f4", (10**6, 10**3))]),
    "empty": npy_bytes((HUGE, 4), "|V0"),
    "negative": npy_bytes((-1, 4)),
    "negatives": npy_bytes((-6, -4)),
    "one more": npy_bytes((5, 4)),
}


@pytest.mark.parametrize("promise", PROMISES)
@pytest.mark.parametrize("layout", ["npy", "npz", "windows"])
def test_a_header_is_not_believed(tmp_path: Path, layout: str, promise: str) -> None:
    ROW_WRITERS[layout](tmp_path, {"a": ROWS, "bad": ROWS})
    file = tmp_path / {"npy": "bad.npy", "npz": "bad.npz", "windows": "bad_25_89.npy"}[layout]
    if layout == "npz":
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("features.npy", PROMISES[promise])
    else:
        file.write_bytes(PROMISES[promise])
    source = open_features(path=tmp_path)
    with bounded(), pytest.raises(DataError, match=r"bad"):
        source.rows("bad")


def test_an_archive_is_not_believed(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", features=ROWS)
    with zipfile.ZipFile(tmp_path / "bad.npz", "w") as archive:
        archive.writestr("features.npy", npy_bytes((900_000_000, 1)))
    content = (tmp_path / "bad.npz").read_bytes()
    entry = content.index(b"PK\x01\x02")
    sizes = struct.pack("<LL", 0xFFFFFFF0, 0xFFFFFFF0)
    (tmp_path / "bad.npz").write_bytes(content[: entry + 20] + sizes + content[entry + 28 :])
    with zipfile.ZipFile(tmp_path / "bad.npz") as archive:
        assert archive.infolist()[0].file_size == 0xFFFFFFF0
    source = open_features(path=tmp_path)
    with bounded(), pytest.raises(DataError, match=r"bad\.npz cannot be read .*where its header of shape"):
        source.rows("bad")


def test_a_shrunk_archive_of_constant_rows_is_read(tmp_path: Path) -> None:
    rows = np.zeros((20_000, 64), "f4")
    np.savez_compressed(tmp_path / "a.npz", features=rows)
    assert rows.nbytes > 900 * (tmp_path / "a.npz").stat().st_size
    assert open_features(path=tmp_path).rows("a").shape == rows.shape


def test_a_tensor_that_repeats_itself_is_refused(tmp_path: Path) -> None:
    torch.save(torch.ones(2, 4), tmp_path / "a.pt")
    torch.save(torch.ones(1, 4).expand(HUGE, 4), tmp_path / "bad.pt")
    torch.save(torch.ones(1, 4).bfloat16().expand(HUGE, 4), tmp_path / "half.pt")
    source = open_features(path=tmp_path)
    with bounded():
        for name in ("bad", "half"):
            refused(source, name, rf"{name}\.pt holds no plain tensor but one of shape \({HUGE}, 4\) that repeats few")


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
@pytest.mark.parametrize("begun", [False, True], ids=["unwritten", "begun"])
def test_rows_that_were_never_written_are_refused(
    tmp_path: Path, writer: Writer, how: dict[str, Any], begun: bool
) -> None:
    path = writer(tmp_path, {"a": ROWS})
    with h5py.File(path, "a") as file:
        for name, count in {"huge": HUGE, "small": 2000}.items():
            dataset = file.create_dataset(
                name if writer is write_flat else f"{name}/features", (count, 4), dtype="f4", **how
            )
            if begun and how:
                dataset[:1000] = 1
    source = open_features(path=path)
    with bounded():
        refused(source, "huge", rf"pack\.hdf5: features of 'huge' have shape \({HUGE}, 4\), but not all of it was ever")
        refused(source, "small", r"features of 'small' have shape \(2000, 4\), but not all of it was ever written")


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
def test_rows_that_were_written_in_any_way_are_read(tmp_path: Path, how: dict[str, Any], libver: str) -> None:
    rows = (np.arange(44).reshape(11, 4) / 4).astype("f4")
    with h5py.File(tmp_path / "pack.hdf5", "w", libver=libver) as file:
        file.create_dataset("a", data=rows, **how)
        file.create_dataset("b", (3, 4), dtype="f4", **how)[...] = rows[:3]
    source = open_features(path=tmp_path / "pack.hdf5")
    np.testing.assert_array_equal(source.rows("a"), rows)
    np.testing.assert_array_equal(source.rows("b"), rows[:3])


def test_small_datasets_inside_their_headers_are_read(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "pack.hdf5", "w") as file:
        compact = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        compact.set_layout(h5py.h5d.COMPACT)
        space = h5py.h5s.create_simple(ROWS.shape)
        h5py.Dataset(h5py.h5d.create(file.id, b"a", h5py.h5t.IEEE_F32LE, space, dcpl=compact))[...] = ROWS
    np.testing.assert_array_equal(open_features(path=tmp_path / "pack.hdf5").rows("a"), ROWS)


def test_an_empty_chunk_does_not_crash_the_library(tmp_path: Path) -> None:
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
    refused(open_features(path=path), "bad", r"features of 'bad' have shape \(6, 4\), but not all of it")


# --- HDF5


@pytest.mark.parametrize("libver", ["earliest", "latest"])
@pytest.mark.parametrize("writer", [write_flat, write_group])
def test_a_file_that_was_cut_anywhere_is_refused(tmp_path: Path, writer: Writer, libver: str) -> None:
    path = writer(tmp_path, {f"v{i}": random(50, 4) + i for i in range(3)})
    if libver == "latest":
        with h5py.File(path) as old, h5py.File(tmp_path / "new.hdf5", "w", libver=libver) as new:
            for name in old:
                old.copy(name, new)
        path = tmp_path / "new.hdf5"
    whole = path.read_bytes()
    for length in [*range(0, len(whole), 97), *range(len(whole) - 20, len(whole))]:
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match=rf"{path.name}: cannot read the file .*damaged, download it again"):
            open_features(path=path)


@pytest.mark.parametrize("content", [b"", b"hello\n", b"<html>404</html>", b"\x89HDF\r\n\x1a\n", bytes(4096)])
@pytest.mark.parametrize("layout", ["auto", "hdf5", "hdf5_flat", "hdf5_group"])
def test_text_named_hdf5_is_refused(tmp_path: Path, content: bytes, layout: str) -> None:
    (tmp_path / "pack.hdf5").write_bytes(content)
    with pytest.raises(DataError, match=r"pack\.hdf5: cannot read the file .*is no HDF5 file or is damaged, download"):
        open_features(path=tmp_path / "pack.hdf5", layout=layout)


def link_out(parent: h5py.Group, name: str, kind: str, outside: Path) -> None:
    """Put something into a group that is not there."""
    if kind == "external":
        parent[name] = h5py.ExternalLink(str(outside / "pack.hdf5"), "/secret")
    elif kind == "soft":
        parent[name] = h5py.SoftLink("/a")
    elif kind == "dangling":
        parent[name] = h5py.SoftLink("/nowhere")
    elif kind == "loop":
        parent[name] = h5py.SoftLink(f"{parent.name.rstrip('/')}/{name}")
    elif kind == "raw":
        parent.create_dataset(name, ROWS.shape, "f4", external=[(str(outside / "raw"), 0, ROWS.nbytes)])
    else:
        layout = h5py.VirtualLayout(shape=ROWS.shape, dtype="f4")
        layout[:] = h5py.VirtualSource(str(outside / "pack.hdf5"), "secret", shape=ROWS.shape)
        parent.create_virtual_dataset(name, layout)


@pytest.mark.parametrize("kind", ["external", "soft", "dangling", "loop", "raw", "virtual"])
@pytest.mark.parametrize("place", ["first", "later", "inner"])
def test_links_out_of_the_file_are_not_followed(tmp_path: Path, kind: str, place: str) -> None:
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


def test_an_external_group_is_not_entered(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    other = write_group(tmp_path / "outside", {"secret": ROWS})
    path = write_group(tmp_path, {"a": ROWS})
    with h5py.File(path, "a") as file:
        file["z"] = h5py.ExternalLink(str(other), "/secret")
    refused(open_features(path=path), "z", "'z' is a link to data elsewhere")


def test_groups_that_hold_themselves_end(tmp_path: Path) -> None:
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
        refused(source, name, f"'{name}' holds no array where its features should be")
    with pytest.raises(DataError, match=r"group 'a' holds 'back', 'features', not one dataset; set dataset\.features"):
        open_features(path=path)


def test_deep_groups_are_not_descended(tmp_path: Path) -> None:
    path = write_flat(tmp_path, {"a/" + "b/" * 500 + "c": ROWS})
    with pytest.raises(DataError, match="'a' holds no array where its features should be"):
        open_features(path=path)


def test_floats_of_a_kind_that_numpy_lacks_are_refused(tmp_path: Path) -> None:
    path = write_flat(tmp_path, {"a": ROWS})
    kind = h5py.h5t.IEEE_F64LE.copy()
    kind.set_fields(63, 40, 23, 0, 40)  # an exponent of 23 bits
    with h5py.File(path, "a") as file:
        early = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        early.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        h5py.h5d.create(file.id, b"bad", kind, h5py.h5s.create_simple((6, 4)), dcpl=early)
    source = open_features(path=path)
    for read in (source.rows, source.stored):
        with pytest.raises(DataError, match=r"pack\.hdf5: cannot read bad .*download it again"):
            read("bad")


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
