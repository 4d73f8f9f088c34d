"""Decoding in a process of its own gives what decoding in this process gives, and its limits hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from clips import make_clip
from cpnet.errors import DataError
from cpnet.video.cut import cut
from cpnet.video.decode import SampledFrames
from cpnet.video.sandbox import Limits, SandboxedFrames, cut_sandboxed


def test_frames_are_those_of_this_process(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mp4", count=30)
    here, there = SampledFrames(path, 3, size=32), SandboxedFrames(path, 3, size=32)
    for (second, frame), (other_second, other) in zip(here, there, strict=True):
        assert second == other_second
        np.testing.assert_array_equal(frame, other)
    assert here.seen == there.seen


def test_clip_is_that_of_this_process(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mp4", count=50, sound_sec=2)
    cut(path, 0.5, 1.0, tmp_path / "here.mp4")
    cut_sandboxed(path, 0.5, 1.0, tmp_path / "there.mp4")
    assert (tmp_path / "here.mp4").read_bytes() == (tmp_path / "there.mp4").read_bytes()


def test_error_of_the_file_is_raised(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"x")
    for task in (
        lambda: list(SandboxedFrames(path, 1)),
        lambda: cut_sandboxed(path, 0, 1, tmp_path / "clip.mp4"),
    ):
        with pytest.raises(DataError, match=r"a\.mp4 is no video that can be read"):
            task()


@pytest.mark.parametrize("limits", [Limits(memory_bytes=1 << 20), Limits(wall_sec=0)])
def test_limit_stops_the_process(tmp_path: Path, limits: Limits) -> None:
    with pytest.raises(DataError, match=r"a\.mp4.*(stopped after second 0\.0|Cannot allocate memory)"):
        list(SandboxedFrames(make_clip(tmp_path / "a.mp4", count=3), 1, limits=limits))
