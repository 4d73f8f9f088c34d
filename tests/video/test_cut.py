"""Oracle: the numbers in the frames of the whole video."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from clips import make_clip, number_of, rotate
from cpnet.errors import ConfigError, DataError
from cpnet.video.cut import cut, stills
from cpnet.video.decode import SampledFrames


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("options", [{"preset": "ultrafast", "g": "10"}, {"preset": "fast", "bf": "2"}])
def test_clip_shows_the_span_with_its_sound(tmp_path: Path, suffix: str, options: dict[str, str]) -> None:
    video = make_clip(tmp_path / f"a{suffix}", count=120, options=options, sound_sec=4.8)
    cut(video, 1.8, 3.0, tmp_path / "clip.mp4")
    frames = SampledFrames(tmp_path / "clip.mp4", 25)
    expected = [number_of(frame) for second, frame in SampledFrames(video, 25) if second > 1.8]
    assert [number_of(frame) for _, frame in frames][:30] == expected[:30]
    assert frames.seen.defects() == ""
    assert frames.seen.duration_sec == pytest.approx(1.2, abs=0.2)  # frames that others depend on may follow
    with av.open(str(tmp_path / "clip.mp4")) as clip:
        (sound,) = clip.streams.audio
        assert float(sound.duration * sound.time_base) == pytest.approx(1.2, abs=0.13)


def test_clip_stays_upright(tmp_path: Path) -> None:
    frame = np.zeros((48, 64, 3), np.uint8)
    frame[:8] = 255
    video = rotate(make_clip(tmp_path / "a.mp4", frames=[frame] * 50), 90)
    cut(video, 1.0, 1.5, tmp_path / "clip.mp4")
    (_, shown), (_, expected) = (next(iter(SampledFrames(path, 25))) for path in (tmp_path / "clip.mp4", video))
    np.testing.assert_array_equal(shown, expected)


def test_what_cannot_be_cut_leaves_no_file(tmp_path: Path) -> None:
    video, old = make_clip(tmp_path / "a.mp4"), make_clip(tmp_path / "b.webm", codec="libvpx", options={}, count=10)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    for path, target, error in (
        (video, video, ConfigError),
        (old, tmp_path / "clip.mp4", DataError),  # mp4 has no VP8
        (video, tmp_path / "missing/clip.mp4", OSError),
    ):
        with pytest.raises(error):
            cut(path, 0.0, 0.2, target)
    for start_sec, end_sec in ((-3.0, -1.0), (-1.0, -0.5)):
        with pytest.raises(DataError, match="no picture"):
            cut(video, start_sec, end_sec, tmp_path / "clip.mp4")
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("group", ["10", "250"])
def test_stills_are_what_a_player_shows(tmp_path: Path, group: str) -> None:
    video = make_clip(tmp_path / "a.mp4", count=120, options={"preset": "fast", "g": group})
    found = stills(video, [0.0, 0.41, 2.02, 4.79])
    assert [number_of(frame) for frame in found] == [0, 10, 50, 119]
    assert {frame.shape for frame in found} == {(120, 160, 3)}


def test_still_before_the_first_picture_is_that_picture(tmp_path: Path) -> None:
    times = [1 + number / 25 for number in range(50)]
    video = make_clip(tmp_path / "a.mkv", times=times, sound_sec=3)
    assert [number_of(frame) for frame in stills(video, [0.5])] == [0]
