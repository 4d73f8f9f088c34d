"""Damaged files and noise: either the rows are finite matrices of floats, or a ``DataError`` names the file."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import h5py
import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cpnet.data.features import FeatureSource, open_features
from cpnet.data.features.fingerprint import fingerprint
from cpnet.errors import DataError
from packs import WRITERS, random

ROWS = random(6, 4)


def written(save: Callable[[io.BytesIO], object]) -> bytes:
    stream = io.BytesIO()
    save(stream)
    return stream.getvalue()


def torch_files() -> Iterator[bytes]:
    tensor = torch.from_numpy(ROWS)
    for new in (True, False):
        for held in (tensor, tensor.bfloat16(), {"rgb": tensor}):
            stream = io.BytesIO()
            torch.save(held, stream, _use_new_zipfile_serialization=new)
            yield stream.getvalue()


def hdf5_files() -> Iterator[bytes]:
    # Without texts of variable length and virtual datasets. Both lie in HDF5's global heap, where a size of zero sends
    # the library into an endless loop.
    for libver in ("earliest", "latest"):
        for group in ("", "/c3d"):
            stream = io.BytesIO()
            with h5py.File(stream, "w", libver=libver) as file:
                file[f"a{group}"] = ROWS
                file[f"b{group}"] = ROWS.astype("f2")
                file.create_dataset(f"c{group}", data=ROWS, chunks=(2, 3), compression="gzip", fletcher32=True)
                file.create_dataset(f"d{group}", data=ROWS, chunks=(4, 4), maxshape=(None, 4))
                file[f"e{group}"] = h5py.ExternalLink("other.hdf5", "a")
                file[f"f{group}"] = np.zeros((2, 4), "S3")
                file[f"g{group}"] = np.zeros((2, 4), [("x", "f4"), ("y", "i2", 3)])
            yield stream.getvalue()


WHOLE: dict[str, list[bytes]] = {
    "npy": [
        written(lambda stream: np.save(stream, ROWS)),
        written(lambda stream: np.save(stream, np.asfortranarray(ROWS.astype(">f8"))[:, None])),
        written(lambda stream: np.lib.format.write_array(stream, ROWS.astype("f2"), version=(3, 0))),
        written(lambda stream: np.save(stream, np.array([[{}, 1]], dtype=object), allow_pickle=True)),
    ],
    "npz": [
        written(lambda stream: np.savez(stream, features=ROWS)),
        written(lambda stream: np.savez_compressed(stream, features=ROWS.astype("f2"))),
    ],
    "pt": [*torch_files()],
    "hdf5": [*hdf5_files()],
}


@st.composite
def damaged(draw: st.DrawFn, files: list[bytes]) -> bytes:
    """Replace, clear, copy, remove or insert some bytes of a valid file, or cut it."""
    content = bytearray(draw(st.sampled_from(files)))
    for _ in range(draw(st.integers(1, 6))):
        at, start = draw(st.integers(0, len(content))), draw(st.integers(0, len(content)))
        removed = draw(st.sampled_from([0, 1, 1, 1, 4, 8, 16, len(content)]))
        cleared = [bytes(min(removed, 16)), b"\xff" * min(removed, 16), content[start : start + removed]]
        content[at : at + removed] = draw(st.binary(max_size=1) | st.binary(max_size=16) | st.sampled_from(cleared))
    return bytes(content)


def check(suffix: str, content: bytes) -> int:
    """Read a file and count the readable videos; warnings are errors."""
    with TemporaryDirectory() as name:
        file = Path(name) / f"a.{suffix}"
        file.write_bytes(content)
        return check_pack(file if suffix == "hdf5" else file.parent)


def check_pack(path: Path) -> int:
    def attempt(read: Callable[[], object]) -> object:
        try:
            return read()
        except DataError as error:
            assert str(path) in str(error)  # noqa: PT017
            return None

    count = 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        source = attempt(lambda: open_features(path=path))
        if not isinstance(source, FeatureSource):
            return 0
        for video in source.ids():
            length = attempt(partial(source.length, video))
            assert length is None or (isinstance(length, int) and length > 0)
            stored = attempt(partial(source.stored, video))
            if stored is not None:
                assert isinstance(stored, np.ndarray)
                assert (stored.ndim, stored.dtype.kind) == (2, "f")
                assert stored.size
            rows = attempt(partial(source.rows, video))
            if rows is not None:
                assert isinstance(rows, np.ndarray)
                assert rows.dtype in (np.float16, np.float32)
                assert rows.shape == (length, source.dim)
                assert np.isfinite(rows).all()
                count += 1
        attempt(partial(fingerprint, source))
        assert source.stamp()
        assert str(path) in source.describe()
    return count


@pytest.mark.parametrize("suffix", WHOLE)
def test_whole_files_are_read(suffix: str) -> None:
    readable = {"npy": [1, 1, 1, 0], "npz": [1, 1], "pt": [1, 1, 0, 1, 1, 0], "hdf5": [4, 4, 4, 4]}
    assert [check(suffix, content) for content in WHOLE[suffix]] == readable[suffix]


@pytest.mark.parametrize("suffix", ["npy", "npz", "pt"])
@settings(max_examples=250)
@given(data=st.data())
def test_damaged_files_are_read_or_refused(suffix: str, data: st.DataObject) -> None:
    check(suffix, data.draw(damaged(WHOLE[suffix])))


# The same examples each time, because a crash inside HDF5 would end the whole test run.
@settings(max_examples=400, derandomize=True)
@given(damaged(WHOLE["hdf5"]))
def test_damaged_hdf5_is_read_or_refused(content: bytes) -> None:
    check("hdf5", content)


@given(header=st.text(st.characters(max_codepoint=255), max_size=80))
@example(header="{'descr': '<f4', 'fortran_order': False, 'shape': (True, 4), }")
@example(header="{'descr': '<f16', 'fortran_order': False, 'shape': (1, 4), }")
@example(header="{'descr': ('<f4', (4,)), 'fortran_order': False, 'shape': (1, 4), }")
@example(header="(" * 5000)
@example(header="-" * 5000 + "1")
@example(header="{'shape': (1L, 4L), 'descr': '<f4', 'fortran_order': False, }")
@example(header="{'shape': (1, 4), 'descr': '\\d', 'fortran_order': 1is 1, }")
def test_any_npy_header_is_read_or_refused(header: str) -> None:
    text = header.encode("latin1") + b"\n"
    check("npy", b"\x93NUMPY\x01\0" + len(text).to_bytes(2, "little") + text + ROWS.tobytes()[:64])


@given(
    st.sets(
        st.one_of(
            st.text("ab_-.0159 é١\n", min_size=1, max_size=12),
            st.builds(
                "{}_{}_{}".format, st.text("a._1", max_size=3), st.integers(0, 99), st.sampled_from([65, 77, 129])
            ),
            st.from_regex(r"[ab]_0?(1_65|13_77|25_89)", fullmatch=True),
        ),
        max_size=6,
    ),
    st.sampled_from(["npy", "npz", "pt"]),
)
def test_any_names_of_files_are_read_or_refused(names: set[str], suffix: str) -> None:
    with TemporaryDirectory() as folder:
        WRITERS[suffix](Path(folder), dict.fromkeys(names, ROWS[:1]))
        check_pack(Path(folder))
