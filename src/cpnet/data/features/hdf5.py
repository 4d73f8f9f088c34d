"""Layouts of HDF5: ``hdf5_flat``, one dataset a video, and ``hdf5_group``, one group a video with a dataset inside."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
from numpy.typing import NDArray

from cpnet.data.features.folder import describe_folder
from cpnet.data.features.source import FeatureSource, WrongKeyError, quote, stamp_of
from cpnet.data.moment import DataError

Layout = Literal["hdf5", "hdf5_flat", "hdf5_group"]


class Hdf5Features(FeatureSource):
    """Features of an HDF5 file, opened by each process on its first read.

    A handle is never used in another process than the one that opened it: after a fork or a pickle the file is
    opened anew. Only data of the file itself is read: links, virtual datasets and external storage are refused.

    Args:
        path: the file
        layout: ``hdf5_flat``, ``hdf5_group``, or ``hdf5`` to take the one that the file has
        key: name of the dataset inside each group; None where each group holds exactly one
        dim: the width V that the pack must have; None takes the width of the first video

    Raises:
        DataError: no HDF5 file, a truncated one, or another layout or key than the file has; see also
            ``FeatureSource``.
    """

    def __init__(self, *, path: Path, layout: Layout = "hdf5", key: str | None = None, dim: int | None = None) -> None:
        if path.is_dir():
            raise DataError(
                f"{path} is a folder, not an HDF5 file; it holds {describe_folder(path)}. "
                "For a folder of .npy files set dataset.features.layout=npy"
            )
        self.path = path
        self.key = key
        self._file: h5py.File | None = None
        self._pid = os.getpid()
        try:
            with self._reading("the file"):
                names = self._entries(self._handle())
                self._grouped = bool(names) and isinstance(self._item(self._handle(), names[0]), h5py.Group)
                self.layout = found = "hdf5_group" if self._grouped else "hdf5_flat"
                if names and layout not in ("hdf5", found):
                    raise DataError(
                        f"{path} has not layout {layout}; {self._found(names)}. Set dataset.features.layout={found}"
                    )
                if names and key is not None and not self._grouped:
                    raise DataError(f"{path} has no inner {key!r}; {self._found(names)}. Set dataset.features.key=null")
            super().__init__(path=path, names=names, dim=dim)
        finally:
            self.close()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_file": None}

    def close(self) -> None:
        """Close the file; a later read opens it again."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def stamp(self) -> str:
        """See ``FeatureSource``."""
        return stamp_of([self.path], self.layout, self.key)

    def inner_key(self) -> str | None:
        """Name of the dataset that is read in a group, None where there are no groups."""
        with self._reading(self.sampled):
            return self._dataset(self.sampled).name.rpartition("/")[2] if self._grouped else None

    def describe(self) -> str:
        """Say in a line what is read."""
        key = f", key {self.inner_key()}" if self._grouped else ""
        return f"{self.path} (layout {self.layout}{key}, {len(self)} videos, {self.dim} wide)"

    def _shape(self, name: str) -> tuple[int, ...]:
        with self._reading(name):
            shape: tuple[int, ...] = self._dataset(name).shape
            return shape

    def _read(self, name: str) -> NDArray[np.generic]:
        with self._reading(name):
            dataset = self._dataset(name)
            self._check_floats(name, dataset.dtype)  # before text is read, which lies elsewhere in the file
            return np.asarray(dataset[()])

    def _handle(self) -> h5py.File:
        if self._pid != os.getpid():
            # The library would hand out the parent's descriptor again if the inherited handle stayed open here.
            self.close()
        if self._file is None:
            # Nothing is written, and locks fail on many network file systems.
            self._file = h5py.File(self.path, "r", locking=False)
            self._pid = os.getpid()
        return self._file

    def _dataset(self, name: str) -> h5py.Dataset:
        item = self._item(self._handle(), name)
        if self._grouped and isinstance(item, h5py.Group):
            inner = self._entries(item)
            if self.key not in inner and (self.key is not None or len(inner) != 1):
                wanted = "one dataset" if self.key is None else repr(self.key)
                raise WrongKeyError(
                    f"{self.path}: group {name!r} holds {quote(inner) or 'nothing'}, not {wanted}; "
                    "set dataset.features.key to the name of the features"
                )
            item = self._item(item, self.key or inner[0])
        if not isinstance(item, h5py.Dataset) or item.shape is None:
            raise DataError(
                f"{self.path}: {name!r} holds no array where its features should be; remove it or fix the file"
            )
        if not _is_written(item, self.path.stat().st_size):
            raise DataError(
                f"{self.path}: features of {name!r} have shape {item.shape}, but not all of it was ever written; "
                "extract or download them again"
            )
        return item

    def _entries(self, group: h5py.Group) -> list[str]:
        """List the names in a group; HDF5 allows none with a slash, at which a lookup would go on to other groups."""
        names = list(group)
        wrong = [name for name in names if not isinstance(name, str) or "/" in name]
        if wrong:
            raise DataError(f"{self.path}: {wrong[0]!r} can be no name in an HDF5 file of UTF-8 names; make it again")
        return names

    def _item(self, parent: h5py.Group, name: str) -> h5py.Group | h5py.Dataset:
        """Take an object that lies in this very file."""
        item = parent[name] if isinstance(parent.get(name, getlink=True), h5py.HardLink) else None
        if item is None or (isinstance(item, h5py.Dataset) and (item.is_virtual or item.external)):
            raise DataError(
                f"{self.path}: {name!r} is a link to data elsewhere, which is not followed; copy the data into the file"
            )
        return item

    def _found(self, names: list[str]) -> str:
        first = self._item(self._handle(), names[0])
        is_group = isinstance(first, h5py.Group)
        inside = f"a group holding {quote(self._entries(first)) or 'nothing'}" if is_group else "a dataset"
        return f"it holds {len(names)} entries ({quote(names)}), the first {inside}"

    @contextmanager
    def _reading(self, name: str) -> Iterator[None]:
        try:
            yield
        except DataError:
            raise
        except Exception as error:  # h5py raises many kinds for damaged files: KeyError, TypeError, MemoryError ...
            raise DataError(
                f"{self.path}: cannot read {name} ({error}); the file is no HDF5 file or is damaged, download it again"
            ) from error


def _is_written(dataset: h5py.Dataset, file_size: int) -> bool:
    """Whether the file has all values of a dataset; the library makes up what is absent, however much that is."""
    if dataset.chunks is not None and dataset.id.get_create_plist().get_nfilters():
        sizes: list[int] = []
        dataset.id.chunk_iter(lambda chunk: sizes.append(chunk.size))
        wanted = math.prod(-(-size // chunk) for size, chunk in zip(dataset.shape, dataset.chunks, strict=True))
        return len(sizes) >= wanted and min(sizes, default=1) > 0  # the library crashes on an empty chunk
    wanted = math.prod(dataset.shape) * dataset.id.get_type().get_size()
    return bool(wanted <= min(dataset.id.get_storage_size(), file_size))
