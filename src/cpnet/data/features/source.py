"""Interface of all layouts of feature packs: rows of features by video id."""

from __future__ import annotations

import hashlib
import os
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Collection, Iterable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cpnet.data.moment import normalise_id
from cpnet.errors import DataError, shown

TRIED = 10  # maximum number of videos whose shape is read to find a matrix
SHOWN = 10  # maximum number of names that an error quotes before "..."


def stamp_of(files: Iterable[os.DirEntry[str] | Path], *how: object) -> str:
    """Hash names, sizes and times of files, and the options that they are read with.

    Raises:
        DataError: a file does not exist.

    >>> stamp_of([], "npy") == stamp_of([], "npy") != stamp_of([], "npz")
    True
    """
    digest = hashlib.sha256(repr(how).encode())
    for file in sorted(files, key=lambda file: file.name):
        try:
            status = file.stat()
        except OSError as error:
            raise DataError(f"{os.fspath(file)} cannot be read ({error}); remove it, or copy it again") from error
        digest.update(os.fsencode(f"{file.name}\0{status.st_size}\0{status.st_mtime_ns}\n"))
    return digest.hexdigest()


def quote(names: Iterable[str]) -> str:
    """Join the first names of a list for an error.

    >>> quote(["rgb", "flow"])
    "'rgb', 'flow'"
    """
    names = list(names)
    return ", ".join(shown(name, 60) for name in names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")


class FeatureSource(ABC):
    """Features of videos in one pack. Subclasses read a layout; this class handles ids, widths and defects.

    Ids match as ``find`` says. A subclass sets its own fields before it calls ``super().__init__``, which reads the
    shape of the first video that has a matrix.

    Attributes:
        layout: the layout, as ``dataset.features.layout`` spells it
        sampled: the video whose shape was read

    Args:
        path: the file or folder
        names: ids of the videos as spelled on disk
        dim: the expected width V; None takes the width of the first video that has a matrix

    Raises:
        DataError: the pack has no video, two names for one video, or a width other than ``dim``.
    """

    layout: str

    def __init__(self, *, path: Path, names: Iterable[str], dim: int | None) -> None:
        self.path = path
        self._names: dict[str, str] = {}
        for name in sorted(names):
            known = self._names.setdefault(normalise_id(name), name)
            if known != name:
                raise DataError(
                    f"{path}: {shown(known)} and {shown(name)} are ids of the same video; remove one of them"
                )
        counts = Counter(map(_without_case, self._names))
        self._by_case = {key: name for each, name in self._names.items() if counts[key := _without_case(each)] == 1}
        if not self._names:
            raise DataError(f"{path} holds no video features; set dataset.features.path to another pack")
        self.sampled, shape = self._sample()
        self.dim = dim if dim is not None else shape[-1]
        self._size(self.sampled, shape)

    @abstractmethod
    def _shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a video's array, without reading its rows if the layout allows."""

    @abstractmethod
    def _read(self, name: str) -> NDArray[np.generic]:
        """Read the array of a video as it is stored."""

    @abstractmethod
    def stamp(self) -> str:
        """Hash the sizes and times of the pack's files and the read options, to detect changes.

        Raises:
            DataError: a file does not exist.
        """

    def describe(self) -> str:
        """Describe the source in one line."""
        return f"{self.path} (layout {self.layout}{self._detail()}, {len(self)} videos, {self.dim} wide)"

    def _detail(self) -> str:
        """Return details of the layout for ``describe``."""
        return ""

    def ids(self) -> Collection[str]:
        """Return the ids of the videos as spelled on disk."""
        return self._names.values()

    def __contains__(self, video: str) -> bool:
        return self.find(video) is not None

    def __len__(self) -> int:
        return len(self._names)

    def find(self, video: str) -> str | None:
        """Return the id of a video as spelled on disk, or None. If no id matches, case is ignored if one id is left."""
        return self._names.get(normalise_id(video)) or self._by_case.get(_without_case(video))

    def missing(self, videos: Iterable[str]) -> list[str]:
        """Return the videos without features, each once, in the order of ``videos``."""
        return [video for video in dict.fromkeys(videos) if video not in self]

    def length(self, video: str) -> int:
        """Return the number of rows of a video.

        Raises:
            DataError: the video is missing, has no rows, or its width differs from ``dim``.
        """
        name = self._name(video)
        return self._size(name, self._shape(name))[0]

    def rows(self, video: str) -> NDArray[np.floating]:
        """Read the features of a video.

        Shape: (N, V), float16 if stored as float16, else float32

        Raises:
            DataError: the video is missing or has no rows, its values are not floats or not finite, or its width
                differs from ``dim``.
        """
        name = self._name(video)
        stored = self.stored(video)
        self._size(name, stored.shape)
        dtype = np.float16 if stored.dtype.itemsize == 2 else np.float32
        with np.errstate(over="ignore", invalid="ignore"):  # NaN and values beyond 32 bits are found below
            rows = np.ascontiguousarray(stored, dtype=dtype)
        if not _all_finite(rows):
            bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
            raise DataError(
                f"{self.path}: features of {shown(name)} hold NaN or infinity in {len(bad)} of {len(rows)} rows, first "
                f"in row {bad[0]}; extract them again"
            )
        return rows

    def stored(self, video: str) -> NDArray[np.floating]:
        """Read the features of a video as they are stored, of any width and with any values.

        Shape: (N, V)

        Raises:
            DataError: the video is missing, or is not a matrix of floats with at least one row.
        """
        name = self._name(video)
        array: NDArray[Any] = self._read(name)
        size = self._matrix(name, array.shape)
        self._check_floats(name, array.dtype)
        matrix: NDArray[np.floating] = array.reshape(size)
        return matrix

    def _name(self, video: str) -> str:
        name = self.find(video)
        if name is None:
            first = shown(next(iter(self.ids())))
            raise DataError(
                f"{self.path} has no features of video {shown(video)} (its ids look like {first}); set "
                "dataset.features.path to a pack that has them"
            )
        return name

    def _sample(self) -> tuple[str, tuple[int, ...]]:
        """Return the first readable video and its shape, skipping a few damaged videos."""
        errors = []
        for name in islice(self._names.values(), TRIED):
            try:
                shape = self._shape(name)
                self._matrix(name, shape)
                return name, shape
            except DataError as error:  # noqa: PERF203
                errors.append(error)
        raise errors[0]

    def _matrix(self, name: str, shape: tuple[int, ...]) -> tuple[int, int]:
        """Return the shape without the singleton dimensions between N and V, as in (N, 1, 1, V)."""
        if len(shape) < 2 or any(between != 1 for between in shape[1:-1]):
            raise DataError(f"{self.path}: features of {shown(name)} have shape {shape}, not (N, V) or (N, 1, ..., V)")
        if shape[0] == 0 or shape[-1] == 0:
            raise DataError(f"{self.path}: features of {shown(name)} are empty, shape {shape}; extract them again")
        return shape[0], shape[-1]

    def _check_floats(self, name: str, dtype: np.dtype[Any]) -> None:
        if dtype.kind != "f":
            raise DataError(f"{self.path}: features of {shown(name)} are {dtype}, not floats; convert them to float32")

    def _size(self, name: str, shape: tuple[int, ...]) -> tuple[int, int]:
        size = self._matrix(name, shape)
        if size[1] != self.dim:
            raise DataError(
                f"{self.path}: features of {shown(name)} are {size[1]} wide, not {self.dim}; if the pack is the right "
                f"one, set dataset.features.dim={size[1]} (model.video_dim follows it)"
            )
        return size


def _without_case(video: str) -> str:
    return normalise_id(video.casefold())


def _all_finite(rows: NDArray[np.floating]) -> bool:
    if rows.dtype == np.float16:  # numpy would convert each value; all bits of the exponent are set in NaN and infinity
        return not ((rows.view(np.uint16) & 0x7C00) == 0x7C00).any()
    return bool(np.isfinite(rows).all())
