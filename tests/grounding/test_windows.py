from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpnet.grounding.windows import Windows


@given(st.integers(2, 3000), st.floats(1, 20_000), st.floats(0.01, 3))
def test_windows_cover_the_video_and_every_short_moment(rows: int, duration_sec: float, share: float) -> None:
    windows, row_sec = Windows.over(rows, duration_sec, share * duration_sec), duration_sec / rows
    ends = windows.start_sec + windows.length_sec
    assert windows.length_sec <= max(min(share, 1) * duration_sec, row_sec) * (1 + 1e-9)
    assert windows.length_sec == pytest.approx(int(windows.counts[0]) * row_sec)
    assert (windows.start_sec[0], ends[-1]) == (0, pytest.approx(duration_sec))
    assert len(ends) == 1 or share < 1
    longest = windows.length_sec / 2 - 2 * row_sec  # moment that lies in one window as a whole
    for start in np.linspace(0, max(0.0, duration_sec - longest), 30):
        assert longest <= 0 or ((windows.start_sec <= start + 1e-6) & (start + longest <= ends + 1e-6)).any()


def test_attentions_are_joined_by_hand() -> None:
    windows = Windows.over(8, 8.0, 4.0)  # of 4 seconds, from 0, 2 and 4
    first, second, third = (np.array(each, np.float32) for each in ([0, 0, 0.5, 0.5], [1, 0, 0, 0], [0.25] * 4))
    joined = windows.join([first, second, third], [1.0, 0.5, 0.0])
    expected = np.array([0, 0, (0.5 + 0.5) / 2, 0.5 / 2, 0, 0, 0, 0])
    np.testing.assert_allclose(joined, expected / expected.sum(), atol=1e-6)
    assert windows.join([np.zeros(0, np.float32)] * 3, [1.0] * 3).size == 0
