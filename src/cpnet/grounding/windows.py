"""Overlapping windows of a video that is longer than those of training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cpnet.errors import DataError


@dataclass(frozen=True, kw_only=True)
class Windows:
    """Windows of one length that cover a video; each begins at most half a window after the one before.

    Shape: starts and counts (W,) int64 in rows, start_sec (W,) float64
    """

    starts: Tensor
    counts: Tensor
    start_sec: NDArray[np.float64]
    length_sec: float
    duration_sec: float

    @classmethod
    def over(cls, rows: int, duration_sec: float, longest_sec: float | None = None) -> Windows:
        """Split a video into windows of ``longest_sec``; return one if it is no longer, or no limit is known.

        >>> Windows.over(100, 50.0, 20.0).start_sec.tolist()
        [0.0, 10.0, 20.0, 30.0]
        """
        if not 0 < duration_sec < float("inf"):
            raise DataError(f"duration_sec must be positive and finite; got {duration_sec}")
        size, number = rows, 1
        if longest_sec is not None and duration_sec > longest_sec:
            size = max(1, int(rows * longest_sec / duration_sec))
            number = 1 + math.ceil((rows - size) / max(1, size // 2))
        starts = np.linspace(0, rows - size, number).round().astype(np.int64)
        return cls(
            starts=torch.from_numpy(starts),
            counts=torch.full((number,), size),
            start_sec=starts * duration_sec / rows,
            length_sec=duration_sec if number == 1 else duration_sec * size / rows,
            duration_sec=duration_sec,
        )

    def join(self, attentions: Sequence[NDArray[np.float32]], weights: Sequence[float]) -> NDArray[np.float32]:
        """Join the attentions of all windows, times their weights >= 0; average them where windows overlap.

        Shape: W of (T,) -> (T * duration / length,), sums to 1
        """
        clips = len(attentions[0])
        if len(self.starts) == 1 or not clips:
            return attentions[0]
        parts = round(clips * self.duration_sec / self.length_sec)
        middle = (np.arange(parts) + 0.5) * self.duration_sec / parts
        total, windows = np.full(parts, 1e-12, np.float32), np.full(parts, 1e-12, np.float32)
        for start, attention, weight in zip(self.start_sec, attentions, weights, strict=True):
            clip = np.floor((middle - start) / self.length_sec * clips).astype(int)
            inside = (clip >= 0) & (clip < clips)
            total[inside] += weight * attention[clip[inside]]
            windows[inside] += 1
        total /= windows
        total /= total.sum()
        return total
