"""Folders: ``npy``, ``npz`` and ``pt``, a file a video, and ``windows``, TALL's file a window of a video."""

from __future__ import annotations

import logging
import os
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cpnet.data.features.arrays import SUFFIXES, Shape, array_shape, read_array
from cpnet.data.features.source import FeatureSource, quote, stamp_of
from cpnet.data.moment import DataError

log = logging.getLogger(__name__)

WINDOW = re.compile(r"(?P<video>.+)_(?P<start>\d+)_(?P<end>\d+)")


class FolderFeatures(FeatureSource):
    """Features of a folder with one array a video; subfolders and hidden files are not looked at.

    Args:
        path: the folder
        layout: ``npy``, ``npz`` or ``pt``, which is also the suffix of the files
        key: name of the array in each ``.npz``; None where it holds exactly one
        dim: the width V that the pack must have; None takes the width of the first video

    Raises:
        DataError: the path is no folder, or holds no such file; see also ``FeatureSource``.
    """

    def __init__(self, *, path: Path, layout: str = "npy", key: str | None = None, dim: int | None = None) -> None:
        self.layout, self.key, self.suffix = layout, key, f".{layout}"
        if key is not None and layout != "npz":
            raise DataError(f"{path}: files of layout {layout} have no inner {key!r}; set dataset.features.key=null")
        super().__init__(path=path, names=(Path(file.name).stem for file in _files(path, self.suffix)), dim=dim)

    def close(self) -> None:
        """Do nothing: no file stays open."""

    def stamp(self) -> str:
        """See ``FeatureSource``."""
        return stamp_of(_files(self.path, self.suffix), self.path.name, self.layout, self.key)

    def describe(self) -> str:
        """Say in a line what is read."""
        key = f", key {self.key or 'the only one'}" if self.layout == "npz" else ""
        return f"{self.path} (layout {self.layout}{key}, {len(self)} videos, {self.dim} wide)"

    def _shape(self, name: str) -> Shape:
        return array_shape(self.path / f"{name}{self.suffix}", key=self.key)

    def _read(self, name: str) -> NDArray[Any]:
        return read_array(self.path / f"{name}{self.suffix}", key=self.key)


class WindowFeatures(FeatureSource):
    """Features of a folder with one ``.npy`` a window of a video, ``{video}_{start}_{end}.npy`` in frames.

    As TALL has them for TACoS: windows of several lengths, of which one length is taken, in order of their start.
    Videos whose windows are not evenly spaced are counted in a warning, since their rows do not lie where they seem to.

    Args:
        path: the folder
        window: length of the windows that are taken, in frames
        dim: the width V that the pack must have; None takes the width of the first video

    Raises:
        DataError: the path is no folder, or holds no window of that length; see also ``FeatureSource``.
    """

    layout = "windows"

    def __init__(self, *, path: Path, window: int = 64, dim: int | None = None) -> None:
        self.window = window
        self._starts: dict[str, list[int]] = {}
        self._spelling: dict[tuple[str, int], str] = {}
        lengths: Counter[int] = Counter()
        for file in _files(path, ".npy"):
            if match := WINDOW.fullmatch(file.name.removesuffix(".npy")):
                start = int(match["start"])
                lengths[int(match["end"]) - start] += 1
                if int(match["end"]) - start == window:
                    self._starts.setdefault(match["video"], []).append(start)
                    known = self._spelling.setdefault((match["video"], start), file.name)
                    if known != file.name:
                        raise DataError(f"{path}: {known!r} and {file.name!r} are the same window; remove one of them")
        if not self._starts:
            found = ", ".join(f"{count} of {length} frames" for length, count in lengths.most_common(5))
            raise DataError(
                f"{path} holds no window of {window} frames, VIDEO_START_END.npy, but "
                f"{found or describe_folder(path)}; set dataset.features.window or dataset.features.layout"
            )
        uneven = []
        for video, starts in self._starts.items():
            starts.sort()
            if len(set(np.diff(starts))) > 1:
                uneven.append(video)
        if uneven:
            log.warning(
                "features: %d of %d videos in %s have windows that are not evenly spaced, so that a row's time is off: "
                "%s; extract them again",
                *(len(uneven), len(self._starts), path, quote(uneven)),
            )
        super().__init__(path=path, names=self._starts, dim=dim)

    def close(self) -> None:
        """Do nothing: no file stays open."""

    def stamp(self) -> str:
        """See ``FeatureSource``."""
        return stamp_of(_files(self.path, ".npy"), self.path.name, self.layout, self.window)

    def describe(self) -> str:
        """Say in a line what is read."""
        return f"{self.path} (windows of {self.window} frames, {len(self)} videos, {self.dim} wide)"

    def _shape(self, name: str) -> Shape:
        starts = self._starts[name]
        return len(starts), *array_shape(self._file(name, starts[0]))[-1:]

    def _read(self, name: str) -> NDArray[Any]:
        rows = [read_array(self._file(name, start)) for start in self._starts[name]]
        for start, row in zip(self._starts[name], rows, strict=True):
            if row.dtype.kind != "f" or row.size != rows[0].size or (row.size,) != row.shape[-1:]:
                raise DataError(
                    f"{self._file(name, start)} has shape {row.shape} of {row.dtype}, not one row of {rows[0].size} "
                    "floats; extract it again"
                )
        return np.stack([row.reshape(-1) for row in rows])

    def _file(self, name: str, start: int) -> Path:
        return self.path / self._spelling[name, start]


def _files(path: Path, suffix: str) -> list[os.DirEntry[str]]:
    if not path.is_dir():
        raise DataError(f"{path} is a file, not a folder of {suffix} files; set dataset.features.layout=auto")
    files = [entry for entry in os.scandir(path) if entry.name.endswith(suffix) and not entry.name.startswith(".")]
    if not files:
        raise DataError(f"{path} holds no {suffix} file but {describe_folder(path)}; set dataset.features.path")
    return files


def describe_folder(path: Path) -> str:
    """Say what a folder holds, by suffix, most frequent first.

    >>> import tempfile
    >>> describe_folder(Path(tempfile.mkdtemp()))
    'nothing'
    """
    kinds = Counter("folders" if entry.is_dir() else entry.suffix or "files without suffix" for entry in path.iterdir())
    return ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(5)) or "nothing"


def detect_folder(path: Path) -> str:
    """Recognise the layout of a folder by the names in it.

    Raises:
        DataError: it holds none that is known, or files of several.
    """
    names = [entry.name for entry in os.scandir(path) if not entry.name.startswith(".")]
    found = [suffix for suffix in SUFFIXES if any(name.endswith(suffix) for name in names)]
    if len(found) != 1:
        folders = [entry.name for entry in os.scandir(path) if entry.is_dir()]
        hint = f"one of its folders ({quote(sorted(folders))})" if folders and not found else "a folder of one kind"
        raise DataError(
            f"{path} holds {describe_folder(path)}; a folder of .npy, .npz or .pt files is wanted: set "
            f"dataset.features.path to {hint}, or dataset.features.layout to choose among the files"
        )
    arrays = [name.removesuffix(".npy") for name in names if name.endswith(".npy")]
    # A video's own name may end in numbers too, but hardly that of every file in two of them that are a window apart.
    if arrays and all(_is_window(name) for name in arrays):
        return "windows"
    return found[0].removeprefix(".")


def _is_window(name: str) -> bool:
    match = WINDOW.fullmatch(name)
    return match is not None and int(match["start"]) < int(match["end"])
