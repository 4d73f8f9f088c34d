"""Times of moments as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from cpnet.data.moment import Moment

Floats = NDArray[np.float64]


def times(moments: Sequence[Moment]) -> tuple[Floats, Floats]:
    """Return the true windows and the durations of moments. Shape: (M, K, 2), (M,), both in seconds"""
    durations = np.array([moment.duration_sec for moment in moments], np.float64)
    return pad_windows([moment.windows_sec for moment in moments]), durations


def pad_windows(windows: Sequence[tuple[tuple[float, float], ...]]) -> Floats:
    """Return the windows of all pairs as one array; a pair with fewer than K repeats its first.

    Shape: (pairs, K, 2), where K is the largest number of windows; 0 if no pair has one

    >>> pad_windows([[(0.0, 1.0), (4.0, 5.0)], [(2.0, 3.0)]]).tolist()
    [[[0.0, 1.0], [4.0, 5.0]], [[2.0, 3.0], [2.0, 3.0]]]
    """
    most = max(map(len, windows))
    padded = chain.from_iterable((*each, *each[:1] * (most - len(each))) for each in windows)
    return np.fromiter(chain.from_iterable(padded), np.float64).reshape(len(windows), most, 2)
