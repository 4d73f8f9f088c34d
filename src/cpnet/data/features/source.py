"""Interface of all layouts of feature packs: rows of features by video id."""

from __future__ import annotations

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cpnet.data.extractor import Extractor
from cpnet.data.moment import normalise_id
from cpnet.errors import DataError, shown

TRIED = 10  # maximum number of videos whose shape is read to find a matrix


def stamp_of(files: Iterable[os.DirEntry[str] | Path], *how: object) -> str:
    """Hash names, sizes and times of files, and the options that they are read with.

    Raises:
        DataError: a file does not exist.

    >>> stamp_of([], "npy") == stamp_of([], "npy") != stamp_of([], "npz")
    True
    """
    digest = hashlib.sha256(repr(how).encode())
    for file in sorted(files, key=os.fspath):
        try:
            status = file.stat()
        except OSError as error:
            raise DataError(f"{os.fspath(file)} cannot be read ({error}); remove it, or copy it again") from error
        digest.update(os.fsencode(f"{file.name}\0{status.st_size}\0{status.st_mtime_ns}\n"))
    return digest.hexdigest()


def last_part(name: str) -> str:
    """Return the part of an id after its last slash."""
    return name.rpartition("/")[2]


def fix_missing(*, some: bool) -> str:
    """Say what to do about videos without features in a split, of which some or none have features."""
    fix = "set dataset.features.path to a pack with all of them"
    drop = ", or dataset.on_missing=drop to drop such pairs of train and val and to count those of test as missed"
    return fix + drop if some else fix


class VideoFile(NamedTuple):
    """The file that a video's rows were extracted from: its absolute path and its duration in seconds."""

    path: str
    duration_sec: float


class FeatureSource(ABC):
    """Features of videos in one pack. Subclasses read a layout; this class handles ids, widths and defects.

    Ids match as ``find`` says. A subclass sets its own fields before it calls ``super().__init__``, which reads the
    shape of the first video that has a matrix.

    Attributes:
        layout: the layout, as ``dataset.features.layout`` spells it
        sampled: the video whose shape was read
        extractor: what extracted the rows; None if unknown
        files: file of each video, as far as they are known

    Args:
        path: the file or folder
        names: ids of the videos as spelled on disk
        dim: the expected width V; None takes the width of the first video that has a matrix
        transpose: whether the arrays are stored as (V, N)

    Raises:
        DataError: the pack has no video, two names for one video, or a width other than ``dim``.
    """

    layout: str
    extractor: Extractor | None = None
    files: Mapping[str, VideoFile] = MappingProxyType({})

    def __init__(self, *, path: Path, names: Iterable[str], dim: int | None, transpose: bool = False) -> None:
        self.path, self.transpose = path, transpose
        self._names: dict[str, str] = {}
        self._alike: dict[str, set[str]] = {}  # names by other spellings
        for name in sorted(names):
            known = self._names.setdefault(normalise_id(name), name)
            if known != name:
                raise DataError(f"{path}: {shown(known)} and {shown(name)} are ids of the same video; remove one")
            for spelling in (name, last_part(name)):
                self._alike.setdefault(normalise_id(spelling.casefold()), set()).add(name)
        if not self._names:
            raise DataError(f"{path} holds no video features; set dataset.features.path to another pack")
        self.sampled, (count, width) = self._sample()
        self.dim = width if dim is None else dim
        self._check_width(self.sampled, count, width)

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
        """Return the id of a video as spelled on disk, or None.

        Falls back to the only id that matches when case is ignored, as a whole or in the last part of its path.
        """
        if (name := self._names.get(normalise_id(video))) is not None:
            return name
        alike = self._alike.get(normalise_id(video.casefold()), set())
        return next(iter(alike)) if len(alike) == 1 else None

    def missing(self, videos: Iterable[str]) -> list[str]:
        """Return the videos without features, each once, in the order of ``videos``."""
        return [video for video in dict.fromkeys(videos) if video not in self]

    def length(self, video: str) -> int:
        """Return the number of rows of a video.

        Raises:
            DataError: the video is missing, has no rows, or its width differs from ``dim``.
        """
        name = self._name(video)
        count, width = self._matrix(name, self._shape(name))
        self._check_width(name, count, width)
        return count

    def rows(self, video: str) -> NDArray[np.floating]:
        """Read the features of a video.

        Shape: (N, V), float16 if stored as float16, else float32

        Raises:
            DataError: the video is missing or has no rows, its values are not floats or not finite, or its width
                differs from ``dim``.
        """
        name = self._name(video)
        stored = self.stored(video)
        self._check_width(name, *stored.shape)
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
        axes = self._axes(name, array.shape)
        self._check_floats(name, array.dtype)
        rows: NDArray[np.floating] = np.moveaxis(array, axes, (0, 1))
        return rows.reshape(rows.shape[:2])

    def _name(self, video: str) -> str:
        name = self.find(video)
        if name is None:
            raise DataError(
                f"{self.path} has no features of video {shown(video)} (its ids look like {shown(self.sampled)}); set "
                "dataset.features.path to a pack that has them"
            )
        return name

    def _sample(self) -> tuple[str, tuple[int, int]]:
        """Return the first readable video, and its N and V, skipping a few damaged videos."""
        errors = []
        for name in islice(self._names.values(), TRIED):
            try:
                return name, self._matrix(name, self._shape(name))
            except DataError as error:  # noqa: PERF203
                errors.append(error)
        raise errors[0]

    def _matrix(self, name: str, shape: tuple[int, ...]) -> tuple[int, int]:
        rows, columns = self._axes(name, shape)
        return shape[rows], shape[columns]

    def _axes(self, name: str, shape: tuple[int, ...]) -> tuple[int, int]:
        """Return the axes of N and V; all others have size 1, as in (1, N, V) or (N, 1, 1, V).

        Five axes, (1, V, N, 1, 1), are the output of a 3D network.
        """
        told = f"{self.path}: features of {shown(name)} have shape {shape}"
        long = [axis for axis, size in enumerate(shape) if size != 1]
        if len(shape) < 2 or len(long) > 2:
            fix = "average the axis of crops, or take one crop, and save that" if long[2:] else "extract them again"
            raise DataError(f"{told}, not (N, V); {fix}")
        if 0 in shape:
            raise DataError(f"{self.path}: features of {shown(name)} are empty, shape {shape}; extract them again")
        if len(long) < 2:  # a single row; N values in axis 0 are N rows, V values if stored (V, N)
            columns = long[0] if long and (long[0] or self.transpose) else len(shape) - 1
            return int(columns == 0), columns
        if self.transpose or (len(shape) == 5 and long == [1, 2]):
            long.reverse()
        return long[0], long[1]

    def _check_floats(self, name: str, dtype: np.dtype[Any]) -> None:
        if dtype.kind != "f":
            raise DataError(f"{self.path}: features of {shown(name)} are {dtype}, not floats; convert them to float32")

    def _check_width(self, name: str, count: int, width: int) -> None:
        if width == self.dim:
            return
        swap = f"dataset.features.transpose={str(not self.transpose).lower()}"
        fix = f"if {count} is the width, {swap}, else dataset.features.dim={width} (model.video_dim follows it)"
        if count == self.dim:
            fix = f"{swap}, because they have {count} rows"
        raise DataError(f"{self.path}: features of {shown(name)} are {width} wide, not {self.dim}; set {fix}")


def _all_finite(rows: NDArray[np.floating]) -> bool:
    if rows.dtype == np.float16:  # numpy would convert each value; all bits of the exponent are set in NaN and infinity
        return not ((rows.view(np.uint16) & 0x7C00) == 0x7C00).any()
    return bool(np.isfinite(rows).all())
