"""Several sources as one: side by side, such as RGB and optical flow, or of different videos."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cpnet.data.features.source import FeatureSource, stamp_of
from cpnet.errors import DataError, shown


class JoinedFeatures(FeatureSource):
    """Concatenated columns of several sources, each optionally L2-normalised.

    A video needs features in all sources. Lengths that differ by one row are truncated to the shortest, because
    optical flow has one frame less than its video; larger differences are rejected.

    Args:
        parts: the sources, and whether to divide each of their rows by its L2 norm (a row of zeros stays as it is)
        dim: the expected total width V

    Raises:
        DataError: no video is in all sources; see also ``FeatureSource``.
    """

    def __init__(self, parts: Sequence[tuple[FeatureSource, bool]], *, dim: int | None = None) -> None:
        self.parts = list(parts)
        first = self.parts[0][0]
        self.layout = " + ".join(source.layout + (", normalised" if unit else "") for source, unit in self.parts)
        names = [name for name in first.ids() if all(name in source for source, _ in self.parts)]
        path = first.path if len(self.parts) == 1 else Path(" + ".join(str(source.path) for source, _ in self.parts))
        if not names:
            raise DataError(f"{path}: no video is in all sources; check that all belong to one corpus")
        self.extractor = first.extractor if len(self.parts) == 1 else None
        super().__init__(path=path, names=names, dim=dim)

    def stamp(self) -> str:
        """See ``FeatureSource``."""
        return stamp_of([], *((source.stamp(), unit) for source, unit in self.parts))

    def _shape(self, name: str) -> tuple[int, int]:
        count = self._count(name, [source.length(name) for source, _ in self.parts])
        return count, sum(source.dim for source, _ in self.parts)

    def _read(self, name: str) -> NDArray[Any]:
        columns = [normalise(source.rows(name)) if unit else source.rows(name) for source, unit in self.parts]
        count = self._count(name, [len(rows) for rows in columns])
        return np.concatenate([rows[:count] for rows in columns], axis=1)

    def _count(self, name: str, lengths: Sequence[int]) -> int:
        if max(lengths) - min(lengths) > 1:
            counts = " and ".join(map(str, lengths))
            raise DataError(
                f"{self.path}: {counts} rows for {shown(name)}; lengths may differ by one: use sources of one "
                "frame rate"
            )
        return min(lengths)


class UnitedFeatures(FeatureSource):
    """Videos of several sources of one width, such as those of training and of validation.

    Raises:
        DataError: two sources have the same video; see also ``FeatureSource``.
    """

    def __init__(self, parts: Sequence[FeatureSource], *, dim: int | None = None) -> None:
        self.parts = list(parts)
        self.layout = " and ".join(dict.fromkeys(source.layout for source in self.parts))
        self._part: dict[str, FeatureSource] = {}
        for part in self.parts:
            for name in part.ids():
                if (other := self._part.setdefault(name, part)) is not part:
                    raise DataError(f"{other.path} and {part.path} both hold {shown(name)}; remove one of the two")
        kinds = {part.extractor for part in self.parts}
        if len(kinds - {None}) > 1:
            raise DataError(
                f"{' and '.join(str(part.path) for part in self.parts)}: rows of different backbones; join rows of one"
            )
        self.extractor = kinds.pop() if len(kinds) == 1 else None
        super().__init__(path=Path(", ".join(str(part.path) for part in self.parts)), names=self._part, dim=dim)

    def stamp(self) -> str:
        """See ``FeatureSource``."""
        return stamp_of([], *(part.stamp() for part in self.parts))

    def _shape(self, name: str) -> tuple[int, int]:
        return self._part[name].length(name), self._part[name].dim

    def _read(self, name: str) -> NDArray[Any]:
        return self._part[name].stored(name)


def normalise(rows: NDArray[np.floating]) -> NDArray[np.float32]:
    """Divide each row by its Euclidean norm; rows of zeros stay. Shape: (N, V) -> (N, V)"""
    rows = rows.astype(np.float32)
    # Squares of large or small values would overflow or underflow in float32.
    norms = np.sqrt(np.einsum("nv,nv->n", rows, rows, dtype=np.float64))[:, None]
    rows /= np.where(norms > 0, norms, 1)
    return rows
