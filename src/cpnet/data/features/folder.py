"""Folder layouts: ``npy``, ``npz`` and ``pt`` with one file per video, ``windows`` with one per window."""

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
from cpnet.errors import DataError

log = logging.getLogger(__name__)

WINDOW = re.compile(r"(?P<video>.+)_(?P<start>\d+)_(?P<end>\d+)")


class FolderFeatures(FeatureSource):
    """Features of a folder with one array file per video; subfolders and hidden files are ignored.

    Args:
        path: the folder
        layout: ``npy``, ``npz`` or ``pt``, which is also the suffix of the files
        key: name of the array in each ``.npz``; None if it holds exactly one
        dim: the expected width V; None takes the width of the first video

    Raises:
        DataError: the folder has no file of this layout; see also ``FeatureSource``.
    """

    def __init__(self, *, path: Path, layout: str = "npy", key: str | None = None, dim: int | None = None) -> None:
        self.layout, self.key, self.suffix = layout, key, f".{layout}"
        super().__init__(path=path, names=(Path(file.name).stem for file in _files(path, self.suffix)), dim=dim)

    def stamp(self) -> str:
        """See ``FeatureSource``."""
        return stamp_of(_files(self.path, self.suffix), self.path.name, self.layout, self.key)

    def _detail(self) -> str:
        return f", key {self.key or 'the only one'}" if self.layout == "npz" else ""

    def _shape(self, name: str) -> Shape:
        return array_shape(self.path / f"{name}{self.suffix}", key=self.key)

    def _read(self, name: str) -> NDArray[Any]:
        return read_array(self.path / f"{name}{self.suffix}", key=self.key)


class WindowFeatures(FeatureSource):
    """Features of a folder with one ``{video}_{start}_{end}.npy`` per window of a video, in frames.

    TALL's layout for TACoS. Of windows with several lengths, only those of one length are read, sorted by start. A
    warning counts videos with unevenly spaced windows, because the index of a row does not determine its time there.

    Args:
        path: the folder
        window: length of the windows to read, in frames
        dim: the expected width V; None takes the width of the first video

    Raises:
        DataError: the folder holds no window of that length; see also ``FeatureSource``.
    """

    layout = "windows"

    def __init__(self, *, path: Path, window: int = 64, dim: int | None = None) -> None:
        self.window = window
        self._windows: dict[str, dict[int, Path]] = {}  # files of each video by their start
        lengths: Counter[int] = Counter()
        for file in _files(path, ".npy"):
            if match := WINDOW.fullmatch(file.name.removesuffix(".npy")):
                start, end = int(match["start"]), int(match["end"])
                lengths[end - start] += 1
                if end - start == window:
                    known = self._windows.setdefault(match["video"], {}).setdefault(start, Path(file))
                    if known.name != file.name:
                        raise DataError(
                            f"{path}: {known.name!r} and {file.name!r} are the same window; remove one of them"
                        )
        if not self._windows:
            found = ", ".join(f"{count} of {length} frames" for length, count in lengths.most_common(5))
            raise DataError(
                f"{path} holds no window of {window} frames, VIDEO_START_END.npy ({found or describe_folder(path)}); "
                "set dataset.features.window or dataset.features.layout"
            )
        self._windows = {video: dict(sorted(files.items())) for video, files in self._windows.items()}
        if uneven := [video for video, files in self._windows.items() if len(set(np.diff([*files]))) > 1]:
            log.warning(
                "features: %d of %d videos in %s have windows that are not evenly spaced, so that the times of rows "
                "are wrong: %s; extract them again",
                *(len(uneven), len(self._windows), path, quote(uneven)),
            )
        super().__init__(path=path, names=self._windows, dim=dim)

    def stamp(self) -> str:
        """See ``FeatureSource``."""
        return stamp_of(_files(self.path, ".npy"), self.path.name, self.layout, self.window)

    def _detail(self) -> str:
        return f" of {self.window} frames"

    def _shape(self, name: str) -> Shape:
        files = [*self._windows[name].values()]
        return len(files), *array_shape(files[0])[-1:]

    def _read(self, name: str) -> NDArray[Any]:
        files = [*self._windows[name].values()]
        rows = [read_array(file) for file in files]
        for file, row in zip(files, rows, strict=True):
            if row.dtype.kind != "f" or row.size != rows[0].size or (row.size,) != row.shape[-1:]:
                raise DataError(
                    f"{file} has shape {row.shape} of {row.dtype}, not one row of {rows[0].size} floats; extract it "
                    "again"
                )
        return np.stack([row.reshape(-1) for row in rows])


def _files(path: Path, suffix: str) -> list[os.DirEntry[str]]:
    files = [entry for entry in os.scandir(path) if entry.name.endswith(suffix) and not entry.name.startswith(".")]
    if not files:
        raise DataError(f"{path} holds no {suffix} file ({describe_folder(path)}); set dataset.features.path")
    return files


def describe_folder(path: Path) -> str:
    """Count the entries of a folder by suffix, most frequent first.

    >>> import tempfile
    >>> describe_folder(Path(tempfile.mkdtemp()))
    'nothing'
    """
    kinds = Counter("folders" if entry.is_dir() else entry.suffix or "files without suffix" for entry in path.iterdir())
    return ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(5)) or "nothing"


def detect_folder(path: Path) -> str:
    """Detect the layout of a folder from its file names.

    Raises:
        DataError: no layout matches, or several do.
    """
    names = [entry.name for entry in os.scandir(path) if not entry.name.startswith(".")]
    found = [suffix for suffix in SUFFIXES if any(name.endswith(suffix) for name in names)]
    if len(found) != 1:
        folders = [entry.name for entry in os.scandir(path) if entry.is_dir()]
        hint = f"one of its folders ({quote(sorted(folders))})" if folders and not found else "a folder of one layout"
        raise DataError(
            f"{path} holds {describe_folder(path)}, not .npy, .npz or .pt files of one layout; set "
            f"dataset.features.path to {hint}, or dataset.features.layout to choose among the files"
        )
    arrays = [name.removesuffix(".npy") for name in names if name.endswith(".npy")]
    # A video id may also end in two increasing numbers, but hardly all ids do.
    if arrays and all(_is_window(name) for name in arrays):
        return "windows"
    return found[0].removeprefix(".")


def _is_window(name: str) -> bool:
    match = WINDOW.fullmatch(name)
    return match is not None and int(match["start"]) < int(match["end"])
