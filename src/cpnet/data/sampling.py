"""From the N rows of a feature pack to the T clips of a model; the policy belongs to a checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.floating]
Clips = NDArray[np.float32]


class Sampling(Protocol):
    """Turns rows into clips: row r covers [r, r + 1) of N, clip i covers [i N/T, (i + 1) N/T).

    ``rng`` is given in training, None in evaluation. Returns the clips and how many of them are real, which come first.

    Shape: rows (N, V) -> clips (T, V) float32, 0 where padded
    """

    @property
    def clips(self) -> int:
        """The number of clips T."""
        ...

    def __call__(self, rows: Rows, *, rng: np.random.Generator | None = None) -> tuple[Clips, int]:
        """Sample the clips of one video."""
        ...


@dataclass(frozen=True, kw_only=True)
class Pick:
    """One row a clip, at a stride of N/T; where N < T the N rows, padded.

    Takes rows ``round(phase + i N/T)``, clamped, ties upwards. The phase is the same for all clips: uniform in
    [-1/2, N/T - 1/2) in training, its middle (N/T - 1)/2 in evaluation, so that each row lies inside its clip and
    N = T is the identity.

    Raises:
        ValueError: fewer than one clip, or no rows.

    >>> clips, real = Pick(clips=2)(np.arange(6.0).reshape(6, 1))
    >>> clips.ravel().tolist(), real
    ([1.0, 4.0], 2)
    """

    clips: int = 128

    def __post_init__(self) -> None:
        _check_clips(self.clips)

    def __call__(self, rows: Rows, *, rng: np.random.Generator | None = None) -> tuple[Clips, int]:
        """Sample the clips of one video; see ``Sampling``."""
        count = _count(rows)
        if count <= self.clips:
            padded = np.zeros((self.clips, rows.shape[1]), np.float32)
            padded[:count] = rows
            return padded, count
        i = np.arange(self.clips)
        if rng is None:
            picked = (2 * i + 1) * count // (2 * self.clips)
        else:
            # floor(x + 1/2) rounds, and the phase starts at -1/2.
            starts = i * count / self.clips
            picked = np.minimum((starts + rng.uniform(0, count / self.clips)).astype(np.int64), count - 1)
        return rows[picked].astype(np.float32, copy=False), self.clips


@dataclass(frozen=True, kw_only=True)
class MeanPool:
    """The mean of the rows of each clip; a row belongs to the clip in which its centre lies.

    Clip i so takes rows ``round(i N/T)`` up to ``round((i + 1) N/T)``, ties downwards, as 2D-TAN pools. A clip without
    a row, which only N < T has, repeats the row nearest to its centre, so all T are real.

    Raises:
        ValueError: fewer than one clip, or no rows.

    >>> clips, real = MeanPool(clips=2)(np.arange(6.0).reshape(6, 1))
    >>> clips.ravel().tolist(), real
    ([1.0, 4.0], 2)
    """

    clips: int = 128

    def __post_init__(self) -> None:
        _check_clips(self.clips)

    def __call__(self, rows: Rows, *, rng: np.random.Generator | None = None) -> tuple[Clips, int]:
        """Sample the clips of one video; see ``Sampling``."""
        count = _count(rows)
        if count <= self.clips:
            # A clip no wider than a row holds one row at most, and that one is the nearest.
            nearest = (2 * np.arange(self.clips) + 1) * count // (2 * self.clips)
            return rows[nearest].astype(np.float32, copy=False), self.clips
        bounds = (2 * count * np.arange(self.clips + 1) + self.clips - 1) // (2 * self.clips)
        first, sizes = bounds[:-1], np.diff(bounds)
        pooled = rows[first].astype(np.float32, copy=False)
        # Sizes differ by one at most; row by row of all clips at once is several times faster than add.reduceat.
        for offset in range(1, count // self.clips):
            pooled += rows[first + offset]
        longer = np.flatnonzero(sizes > count // self.clips)
        pooled[longer] += rows[bounds[longer + 1] - 1]
        pooled /= sizes[:, None].astype(np.float32)
        return pooled, self.clips


@dataclass(frozen=True, kw_only=True)
class Linear:
    """Linear interpolation at the centre of each clip, between the centres of rows; all T are real.

    Clip i lies at ``(i + 1/2) N/T - 1/2`` in rows, clamped to the first and last (``torch.nn.functional.interpolate``
    without ``align_corners``). For N much larger than T rows between are skipped; ``MeanPool`` takes them all.

    Raises:
        ValueError: fewer than one clip, or no rows.

    >>> clips, real = Linear(clips=2)(np.arange(6.0).reshape(6, 1))
    >>> clips.ravel().tolist(), real
    ([1.0, 4.0], 2)
    """

    clips: int = 128

    def __post_init__(self) -> None:
        _check_clips(self.clips)

    def __call__(self, rows: Rows, *, rng: np.random.Generator | None = None) -> tuple[Clips, int]:
        """Sample the clips of one video; see ``Sampling``."""
        count = _count(rows)
        place = ((2 * np.arange(self.clips) + 1) * count / (2 * self.clips) - 0.5).clip(0, count - 1)
        lower = place.astype(np.int64)
        upper = np.minimum(lower + 1, count - 1)
        weight = (place - lower).astype(np.float32)[:, None]
        below, above = rows[lower].astype(np.float32, copy=False), rows[upper].astype(np.float32, copy=False)
        # This form gives back a constant exactly.
        return below + weight * (above - below), self.clips


def _check_clips(clips: int) -> None:
    if clips < 1:
        raise ValueError(f"sampling.clips={clips}: a video needs at least one clip")


def _count(rows: Rows) -> int:
    if rows.ndim != 2 or len(rows) == 0:
        raise ValueError(f"rows of shape {rows.shape}: (N, V) with N >= 1 is wanted")
    return len(rows)
