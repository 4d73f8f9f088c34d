"""Writes the packed store of a corpus: in one pass, in little memory, whole or not at all."""

from __future__ import annotations

import fcntl
import io
import os
import shutil
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from cpnet.data.features.fingerprint import fingerprint
from cpnet.data.features.packed import FORMAT, SEAL_BYTES, PackedFeatures, seal
from cpnet.data.features.source import FeatureSource
from cpnet.data.identity import normalise_id
from cpnet.data.moment import DataError
from cpnet.data.progress import Progress, silent

Precision = Literal["float16", "float32"]

LOST = 0.01  # share of a video's values that may become 0 in float16
VERIFIED_AT_ONCE = 256 << 20  # bytes that stay mapped while the store is checked


def pack(
    source: FeatureSource,
    target: Path,
    *,
    durations: Mapping[str, float],
    dtype: Precision = "float16",
    progress: Progress = silent,
) -> None:
    """Write a packed store of some videos of a source, and check it.

    The store is written beside its place and renamed when all its bytes have been read again and found right: whatever
    happens meanwhile, there is the old store or a whole new one. One video is in memory at a time.

    Args:
        source: the pack
        target: the file, replaced where it exists
        durations: seconds of each video that is packed
        dtype: of the rows
        progress: wraps the videos of each stage, which it is told, to show how far it is

    Raises:
        DataError: a video is absent or defective or does not fit the dtype, the disk has no room, the source changed
            meanwhile, or another process packs to the same place.
    """
    if dtype not in ("float16", "float32"):
        raise DataError(f"dtype must be float16 or float32; got {dtype!r}")
    names = sorted({normalise_id(video): video for video in durations}.values(), key=normalise_id)
    stamp, identity = source.stamp(), fingerprint(source)
    counts = [source.length(name) for name in progress(names, "measuring")]
    offsets = np.concatenate([[0], np.cumsum(counts)])
    index = _index(
        (int(offsets[-1]) + 1, source.dim),
        dtype,
        {"offsets": offsets, "ids": names, "durations": [durations[name] for name in names]},
        {"format": FORMAT, "fingerprint": identity, "stamp": stamp, "source": source.describe()},
    )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _partial(target) as (partial, stream):
            _check_room(target, index.length)
            stream.seek(index.rows)
            checksums = [
                _write(stream, source, name, count, dtype)
                for name, count in zip(progress(names, "packing"), counts, strict=True)
            ]
            stream.truncate(index.length)  # the last row, of zeros
            stream.seek(0)
            stream.write(index.sealed(checksums))
            stream.flush()
            os.fsync(stream.fileno())
            if source.stamp() != stamp:
                raise DataError(f"{source.path} changed while it was packed, so nothing was kept; start again")
            verify(PackedFeatures(path=partial), progress=progress)
            partial.replace(target)
    except OSError as error:
        raise DataError(
            f"cannot write the packed store {target} ({error}); make room or give write permission, or set "
            "dataset.features.packed to another place"
        ) from error


def verify(store: PackedFeatures, *, progress: Progress = silent) -> None:
    """Read all rows of a packed store and compare their checksums.

    Raises:
        DataError: the rows of a video, or those of zeros, are not those that were written.
    """
    mapped = 0
    for place, name in enumerate(progress(list(store.ids()), "checking")):
        rows = store.stored(name)
        mapped += rows.nbytes
        if zlib.crc32(rows.data) != store.checksum(name):
            raise DataError(f"{store.path}: the rows of {name!r} are damaged; pack the features again")
        if mapped > VERIFIED_AT_ONCE or place == len(store) - 1:
            store.release()
            mapped = 0
    if store.table()[-1].any():
        raise DataError(f"{store.path}: its last row is damaged, which is of zeros; pack the features again")


def differing(store: PackedFeatures, source: FeatureSource, *, progress: Progress = silent) -> list[str]:
    """Name the videos of a packed store whose rows are no longer those of the source.

    Raises:
        DataError: a video is gone from the source, or cannot be read.
    """
    return [
        name
        for name in progress(list(store.ids()), "comparing features")
        if zlib.crc32(_as_stored(source.rows(name), store.dtype).data) != store.checksum(name)
    ]


def _check_room(target: Path, size: int) -> None:
    free = shutil.disk_usage(target.parent).free
    if size > free:
        raise DataError(
            f"the packed store {target} needs {size / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free there; make "
            "room, or set dataset.features.packed to another place"
        )


@contextmanager
def _partial(target: Path) -> Iterator[tuple[Path, IO[bytes]]]:
    """Open the empty file in which the store is written, for one process at a time; a failure removes it."""
    partial = target.with_name(f"{target.name}.partial")
    with os.fdopen(os.open(partial, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666), "r+b") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            alone = _is_at(stream, partial)  # else the file is the finished store by now, or was given up
        except BlockingIOError:
            alone = False
        if not alone:
            raise DataError(f"another process is packing to {target}; wait for it")
        try:
            stream.truncate(0)  # what a killed process has left
            yield partial, stream
        except BaseException:
            partial.unlink(missing_ok=True)
            raise


def _is_at(stream: IO[bytes], path: Path) -> bool:
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(stream.fileno()), path.stat())
    return False


class _Index(NamedTuple):
    """The bytes before the rows; where in the file the rows and the checksums begin; how long it will be."""

    begin: bytes
    rows: int
    checksums: int
    length: int

    def sealed(self, checksums: Sequence[int]) -> bytes:
        """The same bytes with the checksums, and the seal in front."""
        filled = np.array(checksums, "<u4").tobytes()
        index = self.begin[SEAL_BYTES : self.checksums] + filled + self.begin[self.checksums + len(filled) :]
        return seal(index) + index


class _Memory(io.BytesIO):
    """A file in memory of which only the length is known as far as it goes past what was written."""

    length = 0

    def truncate(self, size: int | None = None, /) -> int:
        self.length = self.tell() if size is None else size
        return self.length


def _index(shape: tuple[int, int], dtype: Precision, datasets: dict[str, Any], attributes: dict[str, str]) -> _Index:
    """Make all but the rows and checksums, in memory: HDF5 can crash where it writes to a disk that is full."""
    early = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    early.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    early.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    memory = _Memory()
    with h5py.File(memory, "w", userblock_size=SEAL_BYTES) as file:
        file.attrs.update(attributes)
        for name, values in datasets.items():
            file[name] = values
        checksums = file.create_dataset("checksums", data=np.zeros(len(datasets["ids"]), np.uint32))
        # Rows come last, so that they are not in memory.
        rows = h5py.h5d.create(
            file.id, b"rows", h5py.h5t.py_create(np.dtype(dtype)), h5py.h5s.create_simple(shape), dcpl=early
        )
        places = rows.get_offset(), checksums.id.get_offset()
    return _Index(memory.getvalue().ljust(places[0], b"\0"), *places, memory.length)


def _write(stream: IO[bytes], source: FeatureSource, name: str, count: int, dtype: Precision) -> int:
    """Append the rows of a video; give their checksum."""
    rows = source.rows(name)
    if len(rows) != count:
        raise DataError(f"{source.path} changed while it was packed: {name!r} has other rows now; start again")
    stored = _as_stored(rows, np.dtype(dtype))
    if not np.isfinite(stored).all():
        raise DataError(
            f"{source.path}: features of {name!r} reach {np.abs(rows).max():.3g}, beyond float16; set dtype=float32"
        )
    if np.count_nonzero(stored) < (1 - LOST) * np.count_nonzero(rows):
        raise DataError(
            f"{source.path}: many values of {name!r} are too small for float16 and would be 0; set dtype=float32"
        )
    stream.write(stored.data)
    return zlib.crc32(stored.data)


def _as_stored(rows: NDArray[np.floating], dtype: np.dtype[Any]) -> NDArray[Any]:
    with np.errstate(over="ignore"):
        stored: NDArray[Any] = np.ascontiguousarray(rows, dtype=f"<{dtype.str[1:]}")
    return stored
