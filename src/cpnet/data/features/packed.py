"""The packed store: all rows of a corpus in one memory-mapped array.

A folder of two files:

============== ==================================================================================
``rows.npy``   (R, V) float16 or float32: the rows of all videos in order, then one row of zeros
``index.json`` ``format``, ``ids`` and ``counts`` (the rows of each video), and ``fingerprint``, ``stamp`` and
               ``source`` (description) of the original pack; if known, ``extractor``, what extracted the rows, and
               ``files``, the fields of ``VideoFile`` by id
============== ==================================================================================
"""

from __future__ import annotations

import json
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cpnet.data.extractor import Extractor
from cpnet.data.features.source import FeatureSource, VideoFile, stamp_of
from cpnet.errors import DataError, cut

FORMAT = "cpnet packed features, 1"
ROWS, INDEX = "rows.npy", "index.json"
FIELDS = {"ids": list, "counts": list, "fingerprint": str, "stamp": str, "source": str}
DTYPES = ("<f2", "<f4")
MAX_INDEX_BYTES = 256 << 20  # millions of videos


class PackedFeatures(FeatureSource):
    """Features of a packed store, which stays mapped into memory.

    Attributes:
        table: the mapped rows of all videos and a row of zeros, of shape (R, V), read-only
        fingerprint: fingerprint of the original pack
        source_stamp: stamp of the original pack when it was packed
        description: description of the original pack

    Raises:
        DataError: the path is not a packed store, the store is damaged, or the width differs from ``dim``; see also
            ``FeatureSource``.
    """

    layout = "packed"

    def __init__(self, *, path: Path, dim: int | None = None) -> None:
        try:
            index, size = _read_index(path / INDEX), _size(path / ROWS)
            # Read-only: Linux counts a writable map as memory, and refuses one larger than memory and swap.
            table: Any = np.lib.format.open_memmap(path / ROWS, mode="r")
            ids, counts = _check(index, table, size)
            self.extractor = Extractor.from_dict(index.get("extractor"))
            files = index.get("files", {}).items()
            self.files = {name: VideoFile(str(file), float(seconds)) for name, (file, seconds) in files}
        except Exception as error:  # numpy's and json's parsers raise many kinds for damaged files
            raise DataError(
                f"{path} is not a packed store or is damaged ({cut(str(error)) or type(error).__name__}); remove it, "
                "or pack again: python -m cpnet.prepare action=pack"
            ) from error
        self.table: NDArray[np.floating] = np.asarray(table)
        self._places = {name: (end - n, n) for name, n, end in zip(ids, counts, accumulate(counts), strict=True)}
        self.fingerprint: str = index["fingerprint"]
        self.source_stamp: str = index["stamp"]
        self.description: str = index["source"]
        super().__init__(path=path, names=ids, dim=dim)

    def stamp(self) -> str:
        """See ``FeatureSource``."""
        return stamp_of([self.path / INDEX, self.path / ROWS], self.layout)

    def describe(self) -> str:
        """Describe the source in one line."""
        return f"{self.path} (packed, {self.table.dtype}, {len(self)} videos, {self.dim} wide; from {self.description})"

    def start(self, video: str) -> int:
        """Return the first row of a video in the table.

        Raises:
            DataError: the store lacks the video.
        """
        return self._places[self._name(video)][0]

    def _shape(self, name: str) -> tuple[int, int]:
        return self._places[name][1], self.table.shape[1]

    def _read(self, name: str) -> NDArray[Any]:
        first, count = self._places[name]
        rows: NDArray[Any] = self.table[first : first + count].copy()  # torch warns about read-only arrays
        return rows


def is_packed(path: Path) -> bool:
    """Return whether a path is a folder with exactly the files of a packed store."""
    return path.is_dir() and {file.name for file in path.glob("[!.]*")} == {INDEX, ROWS}


def _read_index(path: Path) -> dict[str, Any]:
    if _size(path) > MAX_INDEX_BYTES:
        raise ValueError(f"{INDEX} has more than {MAX_INDEX_BYTES} bytes")
    index = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(index, dict) or index.get("format") != FORMAT:
        raise ValueError(f"{INDEX} does not have format {FORMAT!r}")
    for field, kind in FIELDS.items():
        if type(index.get(field)) is not kind:
            raise ValueError(f"{field} of {INDEX} is not a {kind.__name__}")
    return index


def _check(index: dict[str, Any], table: Any, size: int) -> tuple[list[str], list[int]]:
    """Return the ids and counts of an index.

    Raises:
        ValueError: the index does not match the rows, or the file of the rows has the wrong size.
    """
    ids, counts = index["ids"], index["counts"]
    if table.dtype.str not in DTYPES or table.ndim != 2 or not (table.flags.c_contiguous and table.flags.aligned):
        raise ValueError(f"{ROWS} holds {table.shape} of {table.dtype}, not rows of float16 or float32")
    if table.offset + table.nbytes != size:
        raise ValueError(f"{ROWS} is not one array")
    if not all(type(name) is str for name in ids) or not len(set(ids)) == len(ids) == len(counts):
        raise ValueError(f"ids of {INDEX} are not distinct strings, one per count")
    if not all(type(count) is int and count > 0 for count in counts) or sum(counts) + 1 != len(table):
        raise ValueError(f"counts of {INDEX} are not positive integers that sum to {len(table) - 1}")
    return ids, counts


def _size(path: Path) -> int:
    if not path.is_file():  # opening a pipe would block
        raise FileNotFoundError(f"{path.name} is missing")
    return path.stat().st_size
