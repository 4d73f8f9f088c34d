"""HDF5 layouts: ``hdf5_flat`` with one dataset per video, and ``hdf5_group`` with one group per video."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from cpnet.data.features.source import FeatureSource, quote, stamp_of
from cpnet.errors import DataError, cut, shown


class Hdf5Features(FeatureSource):
    """Features of an HDF5 file, which stays open.

    Only data of the file itself is read: links, virtual datasets and external storage are rejected.

    Args:
        path: the file
        layout: ``hdf5_flat``, ``hdf5_group``, or ``hdf5`` for either
        key: name of the dataset in each group; None if each group holds exactly one
        dim: the expected width V; None takes the width of the first video

    Raises:
        DataError: the file is not a complete HDF5 file, or layout or key do not match; see also ``FeatureSource``.
    """

    def __init__(self, *, path: Path, layout: str = "hdf5", key: str | None = None, dim: int | None = None) -> None:
        self.path, self.key = path, key
        with self._reading("the file"):
            # No lock: the file is only read, and locks fail on many network file systems.
            self._file = h5py.File(path, "r", locking=False)
            names = self._entries(self._file)
            self._grouped = bool(names) and isinstance(self._item(self._file, names[0]), h5py.Group)
            self.layout = found = "hdf5_group" if self._grouped else "hdf5_flat"
            if names and (layout not in ("hdf5", found) or (key is not None and not self._grouped)):
                raise DataError(
                    f"{path} has layout {found} (its entries: {quote(names)}), not layout {layout} with key {key}; set "
                    f"dataset.features.layout=auto{'' if self._grouped else ', key=null'}"
                )
        super().__init__(path=path, names=names, dim=dim)

    def stamp(self) -> str:
        """See ``FeatureSource``."""
        return stamp_of([self.path], self.layout, self.key)

    def inner_key(self) -> str | None:
        """Return the name of the dataset that is read in each group; None for ``hdf5_flat``."""
        with self._reading(self.sampled):
            return self._dataset(self.sampled).name.rpartition("/")[2] if self._grouped else None

    def _detail(self) -> str:
        return f", key {self.inner_key()}" if self._grouped else ""

    def _shape(self, name: str) -> tuple[int, ...]:
        with self._reading(name):
            shape: tuple[int, ...] = self._dataset(name).shape
            return shape

    def _read(self, name: str) -> NDArray[np.generic]:
        with self._reading(name):
            dataset = self._dataset(name)
            self._check_floats(name, dataset.dtype)  # before reading: strings are in a heap that may be damaged
            return np.asarray(dataset[()])

    def _dataset(self, name: str) -> h5py.Dataset:
        item = self._item(self._file, name)
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
