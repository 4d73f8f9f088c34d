"""The packed store: all rows of a corpus in one file, one below the other, so that they can be mapped into memory.

An HDF5 file, which any HDF5 library reads:

============== ===================== ==================================================================
``rows``       (R, V) float16 or 32  the rows of all videos, contiguous and unfiltered, and a last one of zeros
``offsets``    (videos + 1,) int64   video i has rows offsets[i] up to offsets[i + 1]
``ids``        (videos,) text        as the annotations spell them
``durations``  (videos,) float64     in seconds, from the annotations
``checksums``  (videos,) uint32      CRC-32 of each video's bytes in ``rows``
attributes                           ``format``, ``fingerprint``, ``stamp`` and ``source``, of what was packed
============== ===================== ==================================================================

A user block of 512 bytes comes first, and says in text what the file is, how many bytes follow up to the rows, and the
CRC-32 of these: nobody can tell what HDF5 does with bytes that are damaged.
"""

from __future__ import annotations

import mmap
import os
import zlib
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from cpnet.data.features.source import FeatureSource, stamp_of
from cpnet.data.moment import DataError

FORMAT = "cpnet packed features, 1"
MAGIC = f"{FORMAT}\n".encode()
SEAL_BYTES = 512
INDEX = {"offsets": "iu", "ids": "O", "durations": "f", "checksums": "u"}  # and their kinds of values


class PackedFeatures(FeatureSource):
    """Features of a packed store, which stays mapped into memory: reading it takes no system call.

    Attributes:
        fingerprint: of the source that was packed
        source_stamp: its stamp when it was packed
        description: what it was
        dtype: of the rows

    Raises:
        DataError: no packed store, a damaged one, or another width; see also ``FeatureSource``.
    """

    layout = "packed"

    def __init__(self, *, path: Path, dim: int | None = None) -> None:
        self._mapping: mmap.mmap | None = None
        try:
            self._opened = _version(path.stat())
            _check_seal(path)
            with h5py.File(path, "r", locking=False) as file:
                self._read_index(file, path)
        except DataError:
            raise
        except Exception as error:  # h5py raises many kinds for damaged files: KeyError, TypeError, MemoryError ...
            raise _damaged(path, str(error)) from error
        super().__init__(path=path, names=self._places, dim=dim)
        self._table()

    def _read_index(self, file: h5py.File, path: Path) -> None:
        rows = _dataset(file, "rows", path)
        begin, stored = rows.id.get_offset(), rows.id.get_type()
        floats = any(stored.equal(kind) for kind in (h5py.h5t.IEEE_F16LE, h5py.h5t.IEEE_F32LE))
        if rows.ndim != 2 or 0 in rows.shape or begin is None or not floats:
            raise _damaged(path, "its rows are not one block of float16 or float32")
        self.shape: tuple[int, int] = rows.shape
        self.dtype: np.dtype[Any] = rows.dtype
        self._begin = int(begin)
        if path.stat().st_size < self._begin + rows.nbytes:
            raise _damaged(path, "it is shorter than its rows")
        for name, kinds in INDEX.items():
            found = _dataset(file, name, path)
            # Looked at before it is read: what claims to be larger than the rows may not fit into memory.
            if found.ndim != 1 or found.dtype.kind not in kinds or len(found) > len(rows):
                raise _damaged(path, f"its {name} are no index of its rows")
        self.offsets: NDArray[np.int64] = file["offsets"][()].astype(np.int64)
        self.durations: NDArray[np.float64] = file["durations"][()]
        self.checksums: NDArray[np.uint32] = file["checksums"][()]
        names = [str(name) for name in file["ids"].asstr()[()]]
        self._places = {name: place for place, name in enumerate(names)}
        sizes = {len(self._places), len(names), len(self.offsets) - 1, len(self.durations), len(self.checksums)}
        if (
            len(sizes) != 1
            or self.offsets[0] != 0
            or self.offsets[-1] != len(rows) - 1
            or (np.diff(self.offsets) < 1).any()
        ):
            raise _damaged(path, "its index does not fit its rows")
        self.fingerprint, self.source_stamp, self.description = (
            str(file.attrs[name]) for name in ("fingerprint", "stamp", "source")
        )

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_mapping": None}

    def close(self) -> None:
        """Let go of the mapping; arrays that were taken from it keep it until they go."""
        self._mapping = None

    def stamp(self) -> str:
        """See ``FeatureSource``."""
        return stamp_of([self.path], self.layout)

    def describe(self) -> str:
        """Say in a line what is read."""
        return f"{self.path} (packed, {self.dtype}, {len(self)} videos, {self.dim} wide; from {self.description})"

    def table(self) -> NDArray[np.floating]:
        """Give the rows of all videos and a row of zeros, mapped; what is written to them stays in this process.

        Shape: (R, V)
        """
        count = self.shape[0] * self.shape[1]
        return np.frombuffer(self._table(), self.dtype, count, self._begin).reshape(self.shape)

    def place(self, video: str) -> tuple[int, int]:
        """Give the first row of a video in the table, and the number of its rows.

        Raises:
            DataError: no such video.
        """
        place = self._places[self._name(video)]
        return int(self.offsets[place]), int(self.offsets[place + 1] - self.offsets[place])

    def release(self) -> None:
        """Give the mapped pages back to the system, which keeps them as long as it has memory to spare."""
        if self._mapping is not None and hasattr(mmap, "MADV_DONTNEED"):
            self._mapping.madvise(mmap.MADV_DONTNEED)

    def duration_sec(self, video: str) -> float:
        """Length of a video in seconds, from the annotations that it was packed with."""
        return float(self.durations[self._places[self._name(video)]])

    def checksum(self, video: str) -> int:
        """CRC-32 of the bytes of a video's rows when they were written."""
        return int(self.checksums[self._places[self._name(video)]])

    def _table(self) -> mmap.mmap:
        if self._mapping is None:
            try:
                with self.path.open("rb") as stream:
                    if _version(os.fstat(stream.fileno())) != self._opened:
                        raise DataError(f"{self.path} changed since it was opened; start again")
                    # Private, so that torch may take it for writable; nothing writes to it.
                    self._mapping = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_COPY)
            except OSError as error:
                raise _damaged(self.path, str(error)) from error
        return self._mapping

    def _shape(self, name: str) -> tuple[int, int]:
        return self.place(name)[1], self.shape[1]

    def _read(self, name: str) -> NDArray[Any]:
        first, count = self.place(name)
        return self.table()[first : first + count]


def is_packed(path: Path) -> bool:
    """Whether a file says that it is a packed store."""
    try:
        with path.open("rb") as stream:
            return stream.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def seal(index: bytes) -> bytes:
    """Make the user block that stands before the bytes up to the rows."""
    return MAGIC + f"{len(index)} {zlib.crc32(index)}\n".encode().ljust(SEAL_BYTES - len(MAGIC), b"\0")


def _check_seal(path: Path) -> None:
    with path.open("rb") as stream:
        found = stream.read(SEAL_BYTES)
        if not found.startswith(MAGIC):
            raise DataError(f"{path} is no packed store; set dataset.features.layout=auto, or pack it again")
        length = int(found[len(MAGIC) :].split()[0])
        if not 0 <= length <= path.stat().st_size or seal(stream.read(length)) != found:
            raise _damaged(path, "its index is not as it was written")


def _version(status: os.stat_result) -> tuple[int, int]:
    return status.st_size, status.st_mtime_ns


def _dataset(file: h5py.File, name: str, path: Path) -> h5py.Dataset:
    """Take an array that lies in this very file."""
    found = file[name] if isinstance(file.get(name, getlink=True), h5py.HardLink) else None
    if not isinstance(found, h5py.Dataset) or found.is_virtual or found.external:
        raise _damaged(path, f"it lacks its {name}")
    return found


def _damaged(path: Path, reason: str) -> DataError:
    return DataError(
        f"{path}: the packed store is damaged ({reason}); remove it, or make it again: "
        "python -m cpnet.prepare action=pack"
    )
