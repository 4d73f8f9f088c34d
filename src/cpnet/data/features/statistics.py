"""What the rows of one video are like."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SIGNATURE_BINS, SIGNATURE_DIM = 8, 32


@dataclass(frozen=True, kw_only=True)
class VideoStatistics:
    """Counts are of rows; values and norms are of the finite rows alone, NaN where there is none.

    Attributes:
        rows: N
        dim: V
        dtype: as stored
        not_finite: rows with NaN or infinity
        zero: rows of zeros
        constant: other rows whose values are all the same
        repeated: rows that equal the row before them, both finite
        least: smallest value
        most: largest value
        norm: mean L2 norm of a row
        signature: what the video looks like in a few numbers, see ``signature``
    """

    rows: int
    dim: int
    dtype: str
    not_finite: int
    zero: int
    constant: int
    repeated: int
    least: float
    most: float
    norm: float
    signature: NDArray[np.float32]


def examine(stored: NDArray[np.floating]) -> VideoStatistics:
    """Look at the rows of a video.

    Shape: (N, V), N and V >= 1, in any type of floats

    >>> examine(np.array([[3.0, 4.0], [3.0, 4.0], [0.0, 0.0], [1.0, 1.0]])).repeated
    1
    """
    with np.errstate(over="ignore", invalid="ignore"):
        rows = np.asarray(stored, dtype=np.float32)
    finite = np.asarray(np.isfinite(rows).all(axis=1))
    again = (rows[1:] == rows[:-1]).all(axis=1) & finite[1:]
    good = rows if finite.all() else rows[finite]
    least, most = (good.min(axis=1), good.max(axis=1)) if len(good) else (np.empty(0), np.empty(0))
    zero, same = (least == 0) & (most == 0), least == most
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
        least=float(least.min()) if len(good) else float("nan"),
        most=float(most.max()) if len(good) else float("nan"),
        norm=float(norms.mean()) if len(good) else float("nan"),
        signature=signature(good),
    )


def signature(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Project the rows at random to a few dimensions and average them in a few bins over time; 0 without rows.

    Distances between videos are kept roughly (Johnson and Lindenstrauss). A row counts in each bin by the time that it
    shares with it, so that the same video at another rate has the same signature. The projection hangs on the width
    alone. Rows whose values are too large for 32 bits when summed give numbers that are not finite.

    Shape: (N, V) -> (bins * dimensions,)
    """
    if not len(rows):
        return np.zeros(SIGNATURE_BINS * SIGNATURE_DIM, np.float32)
    edges = np.linspace(0, len(rows), SIGNATURE_BINS + 1)
    last = np.minimum(edges.astype(int), len(rows) - 1)  # row in which, or at whose end, a bin ends
    with np.errstate(over="ignore", invalid="ignore"):
        projected = (rows @ _projection(rows.shape[1])).astype(np.float64)
        before = projected.cumsum(axis=0)[last] - projected[last]
        sums = np.diff(before + (edges - last)[:, None] * projected[last], axis=0)
        means: NDArray[np.float32] = (sums * SIGNATURE_BINS / len(rows)).ravel().astype(np.float32)
    return means


def _projection(width: int) -> NDArray[np.float32]:
    if width not in _PROJECTIONS:
        drawn = np.random.default_rng(0).standard_normal((width, SIGNATURE_DIM), np.float32)
        _PROJECTIONS[width] = drawn / np.sqrt(SIGNATURE_DIM, dtype=np.float32)
    return _PROJECTIONS[width]


_PROJECTIONS: dict[int, NDArray[np.float32]] = {}
