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
    for file in sorted(files, key=os.fspath):
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
        transpose: whether the arrays are stored as (V, N)

    Raises:
        DataError: the pack has no video, two names for one video, or a width other than ``dim``.
    """

    layout: str

    def __init__(self, *, path: Path, names: Iterable[str], dim: int | None, transpose: bool = False) -> None:
        self.path, self.transpose, self._expected = path, transpose, dim
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
        ends = [(normalise_id(name.rpartition("/")[2]), name) for name in self._names.values() if "/" in name]
        times = Counter(end for end, _ in ends)
        self._ends = {end: name for end, name in ends if times[end] == 1}
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

        If no id matches, the last part of ids with slashes, such as paths in subfolders, and then ids in any case match
        if they leave one id.
        """
        identity = normalise_id(video)
        return self._names.get(identity) or self._ends.get(identity) or self._by_case.get(_without_case(video))

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
        rows, columns = self._axes(name, array.shape)
        self._check_floats(name, array.dtype)
        first, second = sorted((rows, columns))
        matrix: NDArray[np.floating] = array.reshape(array.shape[first], array.shape[second])
        return matrix if rows < columns else matrix.T

    def _name(self, video: str) -> str:
        name = self.find(video)
        if name is None:
            first = shown(next(iter(self.ids())))
            raise DataError(
                f"{self.path} has no features of video {shown(video)} (its ids look like {first}); set "
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
        """Return the axes of N and V; all others have size 1, as in (1, N, V), (N, 1, 1, V) or (1, V, N, 1, 1)."""
        told = f"{self.path}: features of {shown(name)} have shape {shape}"
        long = [axis for axis, size in enumerate(shape) if size != 1]
        if len(shape) < 2 or len(long) > 2:
            fix = "; average the axis of crops, or take one crop, array.mean(1) or array[:, 0], and save that"
            raise DataError(f"{told}, not (N, V) or (N, 1, ..., V){fix if len(long) > 2 else ''}")
        if 0 in shape:
            raise DataError(f"{self.path}: features of {shown(name)} are empty, shape {shape}; extract them again")
        if len(long) < 2:  # a single row
            columns = long[0] if long and (long[0] or self.transpose) else len(shape) - 1
            return int(columns == 0), columns
        rows, columns = long
        swapped = self.transpose
        if shape[0] == shape[-1] == 1 and not swapped:  # a network's (1, V, N, 1, 1), or (1, N, V, 1)
            swapped = shape[rows] == self._expected
            if swapped == (shape[columns] == self._expected):
                raise DataError(
                    f"{told}, in which the width cannot be told from the rows; set dataset.features.dim to the width, "
                    "and dataset.features.transpose=true for (1, V, N, 1, 1)"
                )
        return (columns, rows) if swapped else (rows, columns)

    def _check_floats(self, name: str, dtype: np.dtype[Any]) -> None:
        if dtype.kind != "f":
            raise DataError(f"{self.path}: features of {shown(name)} are {dtype}, not floats; convert them to float32")

    def _check_width(self, name: str, count: int, width: int) -> None:
        if width == self.dim:
            return
        fix = f"dataset.features.transpose={str(not self.transpose).lower()}"
        if count == self.dim:
            fix = f"they have {count} rows, so they look stored (V, N): set {fix}"
        else:
            fix = (
                f"if the pack is the right one, set dataset.features.dim={width} (model.video_dim follows it), or, if "
                f"{count} is the width, {fix}"
            )
        raise DataError(f"{self.path}: features of {shown(name)} are {width} wide, not {self.dim}; {fix}")


def _without_case(video: str) -> str:
    return normalise_id(video.casefold())


def _all_finite(rows: NDArray[np.floating]) -> bool:
    if rows.dtype == np.float16:  # numpy would convert each value; all bits of the exponent are set in NaN and infinity
        return not ((rows.view(np.uint16) & 0x7C00) == 0x7C00).any()
    return bool(np.isfinite(rows).all())
