"""HDF5 layouts: ``hdf5_flat`` with one dataset per video, and ``hdf5_group`` with one group per video.

Either may lie in groups, ``a/b/VIDEO``; the id is then the path.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from cpnet.data.features.source import FeatureSource, stamp_of
from cpnet.errors import DataError, cut, quote, shown
from cpnet.options import SourceOptions


class Hdf5Features(FeatureSource):
    """Features of an HDF5 file, which stays open.

    Only data of the file itself is read: links, virtual datasets and external storage are rejected. The first entries
    show how deep the videos are: a group holds videos if it has several entries which the next group lacks.

    Args:
        options: ``layout``: ``hdf5_flat``, ``hdf5_group``, or ``hdf5`` for either; ``key`` of each group; ``transpose``

    Raises:
        DataError: the file is not a complete HDF5 file, or layout or key do not match; see also ``FeatureSource``.
    """

    def __init__(self, path: Path, options: SourceOptions, dim: int | None = None) -> None:
        self.path, self.key, layout = path, options.key, options.layout
        with self._reading("the file"):
            # No lock: the file is only read, and locks fail on many network file systems.
            self._file = h5py.File(path, "r", locking=False)
            names = self._videos()
            self.layout = found = "hdf5_group" if self._grouped else "hdf5_flat"
            if names and (layout not in ("hdf5", found) or (self.key is not None and not self._grouped)):
                fix = f"dataset.features.layout=auto{'' if self._grouped else ' dataset.features.key=null'}"
                raise DataError(f"{path} has layout {found}, not {layout} with key {self.key}; set {fix}")
        super().__init__(path=path, names=names, dim=dim, transpose=options.transpose)

    def stamp(self) -> str:
        """See ``FeatureSource``."""
        return stamp_of([self.path], self.layout, self.key, *["transpose"] * self.transpose)

    def inner_key(self) -> str | None:
        """Return the name of the dataset that is read in each group; None for ``hdf5_flat``."""
        with self._reading(self.sampled):
            return self._dataset(self.sampled).name.rpartition("/")[2] if self._grouped else None

    def _detail(self) -> str:
        return f", key {self.inner_key()}" if self._grouped else ""

    def _shape(self, name: str) -> tuple[int, ...]:
        with self._reading(name):
            return tuple(self._dataset(name).shape)

    def _read(self, name: str) -> NDArray[np.generic]:
        with self._reading(name):
            dataset = self._dataset(name)
            self._check_floats(name, dataset.dtype)  # before reading: strings are in a heap that may be damaged
            return np.asarray(dataset[()])

    def _videos(self) -> list[str]:
        """Find the paths of the videos, and whether each is a group."""
        names, seen = self._entries(self._file), {h5py.h5o.get_info(self._file.id).addr}
        self._grouped = bool(names) and isinstance(self._find(names[0]), h5py.Group)
        while self._grouped and self._holds_videos(names):
            deeper = []
            for name in names:
                if (group := self._group(name)) is None:
                    deeper.append(name)
                    continue
                if (address := h5py.h5o.get_info(group.id).addr) in seen:
                    raise DataError(f"{self.path}: group {shown(name)} is in the file twice; write the file again")
                seen.add(address)
                deeper += [f"{name}/{each}" for each in self._entries(group)]
            names = deeper
            self._grouped = self._group(names[0]) is not None
        return names

    def _holds_videos(self, names: Sequence[str]) -> bool:
        """Return whether groups hold videos, from the first two: groups, or several datasets without common names."""
        first, *others = [set(self._entries(group)) for name in names[:2] if (group := self._group(name)) is not None]
        if self.key in first:
            return False
        inner = bool(first) and self._group(f"{names[0]}/{min(first)}") is not None
        return inner or (len(first) > 1 and not any(first & other for other in others))

    def _group(self, name: str) -> h5py.Group | None:
        try:
            item = self._find(name)
        except DataError:  # a link, which is reported when it is read
            return None
        return item if isinstance(item, h5py.Group) else None

    def _find(self, name: str) -> h5py.Group | h5py.Dataset:
        item = self._file
        for part in name.split("/"):
            item = self._item(item, part)
        return item

    def _dataset(self, name: str) -> h5py.Dataset:
        item = self._find(name)
        if self._grouped and isinstance(item, h5py.Group):
            inner = self._entries(item)
            if self.key not in inner and (self.key is not None or len(inner) != 1):
                wanted = "one dataset" if self.key is None else repr(self.key)
                raise DataError(
                    f"{self.path}: group {shown(name)} holds {quote(inner) or 'nothing'}, not {wanted}; "
                    "set dataset.features.key to the name of the features"
                )
            item = self._item(item, self.key or inner[0])
        if not isinstance(item, h5py.Dataset) or item.shape is None:
            raise DataError(f"{self.path}: {shown(name)} holds no array of features; remove it or fix the file")
        if not _is_written(item, self.path.stat().st_size):
            raise DataError(
                f"{self.path}: features of {shown(name)} have shape {item.shape}, but were not all written; extract or "
                "download them again"
            )
        return item

    def _entries(self, group: h5py.Group) -> list[str]:
        """List the names in a group; reject forged names with a slash, whose lookup would lead to other groups."""
        names = list(group)
        wrong = [name for name in names if not isinstance(name, str) or "/" in name]
        if wrong:
            raise DataError(f"{self.path}: {shown(wrong[0])} is not a valid name in an HDF5 file; write the file again")
        return names

    def _item(self, parent: h5py.Group, name: str) -> h5py.Group | h5py.Dataset:
        """Return an object that is stored in this file.

        Raises:
            DataError: the object is a link, or its data is in another file.
        """
        item = parent[name] if isinstance(parent.get(name, getlink=True), h5py.HardLink) else None
        if item is None or (isinstance(item, h5py.Dataset) and (item.is_virtual or item.external)):
            raise DataError(
                f"{self.path}: {shown(name)} is a link to data elsewhere, which is not followed; copy the data into "
                "the file"
            )
        return item

    @contextmanager
    def _reading(self, name: str) -> Iterator[None]:
        try:
            yield
        except DataError:
            raise
        except Exception as error:  # h5py raises many kinds for damaged files: KeyError, TypeError, MemoryError ...
            raise DataError(
                f"{self.path}: cannot read {cut(name)} ({cut(str(error))}); the file is not an HDF5 file or is "
                "damaged, download it again"
            ) from error


def _is_written(dataset: h5py.Dataset, file_size: int) -> bool:
    """Return whether the file has all values of a dataset; the HDF5 library silently fills in missing ones."""
    if dataset.chunks is not None and dataset.id.get_create_plist().get_nfilters():
        sizes: list[int] = []
        dataset.id.chunk_iter(lambda chunk: sizes.append(chunk.size))
        needed = math.prod(-(-size // chunk) for size, chunk in zip(dataset.shape, dataset.chunks, strict=True))
        return len(sizes) >= needed and min(sizes, default=1) > 0  # the HDF5 library crashes on an empty chunk
    needed = math.prod(dataset.shape) * dataset.id.get_type().get_size()
    return bool(needed <= min(dataset.id.get_storage_size(), file_size))
