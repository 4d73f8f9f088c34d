"""One ``.npz`` with an array per video."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from cpnet.data.features.arrays import Shape, array_shape, open_archive, read_array
from cpnet.data.features.source import FeatureSource, stamp_of


class ArchiveFeatures(FeatureSource):
    """Features of one ``.npz``, which stays open.

    Args:
        path: the file
        dim: the expected width V; None takes the width of the first video
        transpose: whether the arrays are stored as (V, N)

    Raises:
        DataError: the file is no archive; see also ``FeatureSource``.
    """

    layout = "npz"

    def __init__(self, *, path: Path, dim: int | None = None, transpose: bool = False) -> None:
        self._archive = open_archive(path)
        names = [name.removesuffix(".npy") for name in self._archive.namelist() if name.endswith(".npy")]
        super().__init__(path=path, names=names, dim=dim, transpose=transpose)

    def stamp(self) -> str:
        """See ``FeatureSource``."""
        return stamp_of([self.path], self.layout, *["transpose"] * self.transpose)

    def _detail(self) -> str:
        return " of all videos"

    def _shape(self, name: str) -> Shape:
        return array_shape(self.path, key=name, archive=self._archive)

    def _read(self, name: str) -> NDArray[Any]:
        return read_array(self.path, key=name, archive=self._archive)
