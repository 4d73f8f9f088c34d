"""Statistics of one video's rows."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class VideoStatistics:
    """Counts of rows, and range and mean norm of the finite rows (NaN if no row is finite)."""

    rows: int  # N
    dim: int  # V
    dtype: str  # as stored
    not_finite: int  # rows with NaN or infinity
    zero: int  # rows of zeros
    constant: int  # other rows whose values are all the same
    repeated: int  # finite rows that equal the row before them
    padding: int  # rows of zeros at the end
    least: float  # smallest value
    most: float  # largest value
    norm: float  # mean L2 norm of a row


def examine(stored: NDArray[np.floating]) -> VideoStatistics:
    """Compute the statistics of a video.

    Shape: (N, V), N and V >= 1, any type of floats

    >>> examine(np.array([[3.0, 4.0], [3.0, 4.0], [0.0, 0.0], [1.0, 1.0]])).repeated
    1
    """
    with np.errstate(over="ignore", invalid="ignore"):
        rows = np.asarray(stored, dtype=np.float32)
    finite = np.asarray(np.isfinite(rows).all(axis=1))
    again = (rows[1:] == rows[:-1]).all(axis=1) & finite[1:]
    good = rows if finite.all() else rows[finite]
    least, most = good.min(axis=1), good.max(axis=1)
    zero, same = (least == 0) & (most == 0), least == most
    filled = np.flatnonzero(rows.any(axis=1))
    norms = np.sqrt(np.einsum("nv,nv->n", good, good, dtype=np.float64))
    return VideoStatistics(
        rows=len(rows),
        dim=rows.shape[1],
        dtype=str(stored.dtype),
        not_finite=int((~finite).sum()),
        zero=int(zero.sum()),
        # A single column cannot vary within a row.
        constant=int((same & ~zero).sum()) if rows.shape[1] > 1 else 0,
        repeated=int(again.sum()),
        padding=len(rows) - 1 - int(filled[-1]) if len(filled) else len(rows),
        least=float(least.min()) if len(good) else math.nan,
        most=float(most.max()) if len(good) else math.nan,
        norm=float(norms.mean()) if len(good) else math.nan,
    )
