"""Layouts of HDF5: ``hdf5_flat``, one dataset a video, and ``hdf5_group``, one group a video with a dataset inside."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
from numpy.typing import NDArray

from cpnet.data.features.npy import describe_folder
from cpnet.data.features.source import FeatureSource, quote
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
                names = list(self._handle())
                grouped = bool(names) and isinstance(self._item(self._handle(), names[0]), h5py.Group)
            found = "hdf5_group" if grouped else "hdf5_flat"
            if names and layout not in ("hdf5", found):
                raise DataError(
                    f"{path} has not layout {layout}; {self._found(names)}. Set dataset.features.layout={found}"
                )
            if names and key is not None and not grouped:
                raise DataError(f"{path} has no inner {key!r}; {self._found(names)}. Set dataset.features.key=null")
            self._grouped = grouped
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

    def _shape(self, name: str) -> tuple[int, ...]:
        with self._reading(name):
            shape: tuple[int, ...] = self._dataset(name).shape
            return shape

    def _read(self, name: str) -> NDArray[np.generic]:
        with self._reading(name):
            return np.asarray(self._dataset(name)[()])

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
            inner = list(item)
            if self.key not in inner and (self.key is not None or len(inner) != 1):
                wanted = "one dataset" if self.key is None else repr(self.key)
                raise DataError(
                    f"{self.path}: group {name!r} holds {quote(inner) or 'nothing'}, not {wanted}; "
                    "set dataset.features.key to the name of the features"
                )
            item = self._item(item, self.key or inner[0])
        if not isinstance(item, h5py.Dataset) or item.shape is None:
            raise DataError(
                f"{self.path}: {name!r} holds no array where its features should be; remove it or fix the file"
            )
        return item

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
        inside = f"a group holding {quote(first) or 'nothing'}" if isinstance(first, h5py.Group) else "a dataset"
        return f"it holds {len(names)} entries ({quote(names)}), the first {inside}"

    @contextmanager
    def _reading(self, name: str) -> Iterator[None]:
        try:
            yield
        except (OSError, RuntimeError, KeyError) as error:
            raise DataError(
                f"{self.path}: cannot read {name} ({error}); the file is no HDF5 file or is damaged, download it again"
            ) from error
