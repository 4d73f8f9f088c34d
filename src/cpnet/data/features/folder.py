"""Layouts of ``.npy``, ``.npz`` and ``.pt``: a file per video, a file per window, or one ``.npz`` of all videos."""

from __future__ import annotations

import logging
import math
import os
import re
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cpnet.data.features.arrays import SUFFIXES, Shape, array_shape, read_array, reading
from cpnet.data.features.packed import is_packed
from cpnet.data.features.source import FeatureSource, stamp_of
from cpnet.errors import DataError, quote
from cpnet.options import SourceOptions

log = logging.getLogger(__name__)

WINDOW = re.compile(r"(?P<video>.+)_(?P<start>\d+)_(?P<end>\d+)")


class FolderFeatures(FeatureSource):
    """Features of a folder with one array file per video, by their paths below the folder; hidden files are ignored.

    Args:
        options: ``layout``, which is also the suffix of the files; ``key``, the array of each ``.npz``; ``transpose``

    Raises:
        DataError: the folder has no file of this layout; see also ``FeatureSource``.
    """

    def __init__(self, path: Path, options: SourceOptions, dim: int | None = None) -> None:
        self.layout, self.key, self.suffix = options.layout, options.key, f".{options.layout}"
        names = [name.removesuffix(self.suffix) for name in _files(path, self.suffix)]
        super().__init__(path=path, names=names, dim=dim, transpose=options.transpose)

    def stamp(self) -> str:
        """See ``FeatureSource``."""
        files = _files(self.path, self.suffix).values()
        return stamp_of(files, self.path.name, self.layout, self.key, *["transpose"] * self.transpose)

    def _detail(self) -> str:
        return f", key {self.key or 'the only one'}" if self.layout == "npz" else ""

    def _shape(self, name: str) -> Shape:
        return array_shape(self.path / f"{name}{self.suffix}", key=self.key)

    def _read(self, name: str) -> NDArray[Any]:
        return read_array(self.path / f"{name}{self.suffix}", key=self.key)


class ArchiveFeatures(FeatureSource):
    """Features of one ``.npz`` with an array per video, which stays open.

    Raises:
        DataError: the file is no archive; see also ``FeatureSource``.
    """

    layout = "npz"

    def __init__(self, path: Path, options: SourceOptions, dim: int | None = None) -> None:
        with reading(path):
            self._archive = zipfile.ZipFile(path)
        names = [name.removesuffix(".npy") for name in self._archive.namelist() if name.endswith(".npy")]
        super().__init__(path=path, names=names, dim=dim, transpose=options.transpose)

    def stamp(self) -> str:
        """See ``FeatureSource``."""
        return stamp_of([self.path], self.layout, *["transpose"] * self.transpose)

    def _detail(self) -> str:
        return " of all videos"

    def _shape(self, name: str) -> Shape:
        return array_shape(self.path, key=name, archive=self._archive)

    def _read(self, name: str) -> NDArray[Any]:
        return read_array(self.path, key=name, archive=self._archive)


class WindowFeatures(FeatureSource):
    """Features of a folder with one ``{video}_{start}_{end}.npy`` per window of a video, in frames.

    TALL's layout for TACoS. Of windows with several lengths, only those of one length are read, sorted by start. A
    warning counts videos with unevenly spaced windows, because the index of a row does not determine its time there.

    Args:
        options: ``window``, the length of the windows to read, in frames

    Raises:
        DataError: the folder holds no window of that length; see also ``FeatureSource``.
    """

    layout = "windows"

    def __init__(self, path: Path, options: SourceOptions, dim: int | None = None) -> None:
        self.window = window = options.window
        self._windows: dict[str, dict[int, Path]] = {}  # files of each video by their start
        lengths: Counter[int] = Counter()
        for name, file in _files(path, ".npy").items():
            if match := WINDOW.fullmatch(name.removesuffix(".npy")):
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
        return stamp_of(_files(self.path, ".npy").values(), self.path.name, self.layout, self.window)

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


def _files(path: Path, suffix: str) -> dict[str, os.DirEntry[str]]:
    files = {name: entry for name, entry in entries(path) if name.endswith(suffix)}
    if not files:
        raise DataError(f"{path} holds no {suffix} file ({describe_folder(path)}); set dataset.features.path")
    return files


def entries(path: Path) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Yield what a folder and its subfolders hold by the path below it, except hidden files and packed stores.

    Links to folders are followed last, so that a folder that also lies below ``path`` keeps its own name.
    """
    folders, links, seen, prefix = [os.fspath(path)], list[str](), set[str](), f"{path}{os.sep}"
    while folders or links:
        folder = (folders or links).pop(0)
        if (real := os.path.realpath(folder)) in seen:  # a link may lead to a folder above it
            continue
        seen.add(real)
        for entry in os.scandir(folder):
            if entry.name.startswith("."):
                continue
            yield entry.path.removeprefix(prefix), entry
            if entry.is_dir() and not is_packed(Path(entry)):
                (links if entry.is_symlink() else folders).append(entry.path)


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
    names = [name for name, _ in entries(path)]
    for among in ([name for name in names if "/" not in name], names):  # files of the folder itself come first
        if found := [suffix for suffix in SUFFIXES if any(name.endswith(suffix) for name in among)]:
            break
    if len(found) != 1:
        raise DataError(
            f"{path} holds {describe_folder(path)}, not .npy, .npz or .pt files of one layout; set "
            "dataset.features.path to a folder of one layout, or dataset.features.layout to choose among the files"
        )
    arrays = sorted(name for name in among if name.endswith(".npy"))
    matches = [WINDOW.fullmatch(name.removesuffix(".npy")) for name in arrays]
    if arrays and all(match and int(match["start"]) < int(match["end"]) for match in matches):
        shape = array_shape(path / arrays[0])
        if math.prod(shape) == math.prod(shape[-1:]):  # a window has one row; ids may also end in two numbers
            return "windows"
    return found[0].removeprefix(".")
