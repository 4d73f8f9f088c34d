"""Several sources side by side, such as RGB and flow: their columns are joined, row by row."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cpnet.data.features.source import FeatureSource, stamp_of
from cpnet.data.moment import DataError


class JoinedFeatures(FeatureSource):
    """Columns of several sources beside each other, each L2-normalised first or not.

    A video is there if all sources have it. Lengths that differ by one row are cut to the shorter one, as optical flow
    has a frame less than its video; lengths that differ by more are refused.

    Args:
        parts: the sources, and whether each row of theirs is divided by its L2 norm (a row of zeros stays one)
        dim: the width V that they must have together

    Raises:
        DataError: no video is in all of them; see also ``FeatureSource``.
    """

    def __init__(self, parts: Sequence[tuple[FeatureSource, bool]], *, dim: int | None = None) -> None:
        self.parts = list(parts)
        first = self.parts[0][0]
        self.layout = " + ".join(source.layout + (", normalised" if unit else "") for source, unit in self.parts)
        names = [name for name in first.ids() if all(name in source for source, _ in self.parts)]
        path = first.path if len(self.parts) == 1 else Path(" + ".join(str(source.path) for source, _ in self.parts))
        if not names:
            raise DataError(f"{path}: no video is in all of them; check that all belong to one corpus")
        super().__init__(path=path, names=names, dim=dim)

    def close(self) -> None:
        """Let go of open files; a later read opens them again."""
        for source, _ in self.parts:
            source.close()

    def release(self) -> None:
        """See ``FeatureSource``."""
        for source, _ in self.parts:
            source.release()

    def stamp(self) -> str:
        """See ``FeatureSource``."""
        return stamp_of([], *((source.stamp(), unit) for source, unit in self.parts))

    def _shape(self, name: str) -> tuple[int, int]:
        count = self._count(name, [source.length(name) for source, _ in self.parts])
        return count, sum(source.dim for source, _ in self.parts)

    def _read(self, name: str) -> NDArray[Any]:
        columns = [_normalise(source.rows(name)) if unit else source.rows(name) for source, unit in self.parts]
        count = self._count(name, [len(rows) for rows in columns])
        return np.concatenate([rows[:count] for rows in columns], axis=1)

    def _count(self, name: str, lengths: Sequence[int]) -> int:
        if max(lengths) - min(lengths) > 1:
            counts = " and ".join(map(str, lengths))
            raise DataError(
                f"{self.path}: {counts} rows for {name!r}; lengths may differ by one: take sources of one frame rate"
            )
        return min(lengths)


def _normalise(rows: NDArray[np.floating]) -> NDArray[np.float32]:
    rows = rows.astype(np.float32)
    # The squares of large or small values do not fit 32 bits.
    norms = np.sqrt(np.einsum("nv,nv->n", rows, rows, dtype=np.float64))[:, None]
    rows /= np.where(norms > 0, norms, 1)
    return rows
