"""Decoding in a process of its own gives what decoding in this process gives, and its limits hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from clips import make_clip
from cpnet.errors import DataError
from cpnet.video.decode import SampledFrames
from cpnet.video.sandbox import Limits, SandboxedFrames


def test_frames_are_those_of_this_process(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mp4", count=30)
    here, there = SampledFrames(path, 3, size=32), SandboxedFrames(path, 3, size=32)
    for (second, frame), (other_second, other) in zip(here, there, strict=True):
        assert second == other_second
        np.testing.assert_array_equal(frame, other)
    assert here.seen == there.seen


def test_error_of_the_file_is_raised(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"x")
    with pytest.raises(DataError, match=r"a\.mp4 is no video that can be read"):
        list(SandboxedFrames(tmp_path / "a.mp4", 1))


@pytest.mark.parametrize("limits", [Limits(memory_bytes=1 << 20), Limits(wall_sec=0)])
def test_limit_stops_the_process(tmp_path: Path, limits: Limits) -> None:
    with pytest.raises(DataError, match=r"a\.mp4.*(stopped after second 0\.0|Cannot allocate memory)"):
        list(SandboxedFrames(make_clip(tmp_path / "a.mp4", count=3), 1, limits=limits))
