"""The oracle is the number that each frame of a made clip shows, and the time at which it was written."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from clips import make_clip, make_sound, number_of, numbered, rotate
from cpnet.errors import DataError
from cpnet.video import decode
from cpnet.video.decode import SampledFrames, stated_duration

B_FRAMES = {"preset": "veryfast", "bf": "3", "g": "12"}


def sampled(path: Path, fps: float) -> list[tuple[float, int]]:
    return [(second, number_of(frame)) for second, frame in SampledFrames(path, fps)]


@pytest.mark.parametrize(
    ("name", "codec", "options", "start"),
    [
        ("a.mp4", "libx264", None, 0.0),
        ("a.mkv", "libx264", B_FRAMES, 0.0),
        ("late.mkv", "libx264", B_FRAMES, 100.0),
        ("late.ts", "libx264", B_FRAMES, 7.0),
        ("a.avi", "mpeg4", {}, 0.0),
        ("a.webm", "libvpx-vp9", {"deadline": "realtime", "cpu-used": "8"}, 0.0),
    ],
)
@pytest.mark.parametrize("fps", [2.0, 7.3, 40.0])
def test_sample_is_the_frame_that_is_shown_at_its_second(
    tmp_path: Path, fps: float, name: str, codec: str, options: dict[str, str] | None, start: float
) -> None:
    times = None if codec == "mpeg4" else [start + number / 25 for number in range(40)]
    path = make_clip(tmp_path / name, count=40, codec=codec, options=options, times=times)
    frames = SampledFrames(path, fps)
    found = [(second, number_of(frame)) for second, frame in frames]
    expected = [(k + 0.5) / fps for k in range(round(1.6 * fps))]
    assert [second for second, _ in found] == pytest.approx(expected)
    assert [number for _, number in found] == [int(second * 25 + 1e-6) for second in expected]
    assert (frames.seen.frames, frames.seen.defects()) == (40, "")
    assert frames.seen.duration_sec == pytest.approx(1.6, abs=0.002)


def test_variable_frame_rate_is_sampled_by_timestamps(tmp_path: Path) -> None:
    times = [0.0, 0.1, 0.15, 1.0, 1.04, 3.0, 3.3]
    found = sampled(make_clip(tmp_path / "vfr.mkv", count=len(times), times=times), 8.0)
    assert [number for _, number in found[:24]] == [
        max(number for number, time in enumerate(times) if time <= second) for second, _ in found[:24]
    ]
    assert found[-1][0] == pytest.approx(3.3, abs=0.07)


def test_clip_shorter_than_a_sample_has_one(tmp_path: Path) -> None:
    assert sampled(make_clip(tmp_path / "a.mp4", count=3), 1.0) == [(0.5, 2)]


@pytest.mark.parametrize(("degrees", "corner"), [(90, (0, -1)), (180, (-1, -1)), (270, (-1, 0))])
def test_rotation_is_applied(tmp_path: Path, degrees: int, corner: tuple[int, int]) -> None:
    """The white upper left corner moves clockwise."""
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[:16, :16] = 255
    path = rotate(make_clip(tmp_path / "a.mp4", frames=[picture] * 3), degrees)
    _, frame = next(iter(SampledFrames(path, 1)))
    assert frame.shape == ((48, 64, 3) if degrees == 180 else (64, 48, 3))
    assert frame[corner].min() > 200
    bright = frame.mean(axis=2) > 127
    assert bright.sum() == pytest.approx(256, abs=20)
    assert next(iter(SampledFrames(path, 1, size=(20, 40))))[1].shape == (20, 40, 3)


def test_pixels_become_square(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mp4", count=3, aspect=Fraction(3, 2))
    assert next(iter(SampledFrames(path, 1)))[1].shape == (48, 96, 3)
    assert next(iter(SampledFrames(path, 1, size=24)))[1].shape == (24, 48, 3)


def test_odd_metadata_is_ignored(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "latin.avi", count=3, codec="mpeg4", options={})
    path.write_bytes(path.read_bytes().replace(b"Lavf", "é".encode("latin-1") + b"avf"))
    assert len(sampled(path, 1)) == 1
    path = rotate(make_clip(tmp_path / "a.mp4", count=3), None)
    assert next(iter(SampledFrames(path, 1)))[1].shape == (48, 64, 3)


def test_frames_keep_the_shape_of_the_first(tmp_path: Path) -> None:
    wide = make_clip(tmp_path / "b.ts", frames=[numbered(200, 64, 128)] * 20, times=[1 + k / 25 for k in range(20)])
    path = make_clip(tmp_path / "a.ts", frames=[numbered(7)] * 20)
    path.write_bytes(path.read_bytes() + wide.read_bytes())
    frames = [frame for _, frame in SampledFrames(path, 5, size=24)]
    assert {frame.shape for frame in frames} == {(24, 32, 3)}
    assert (number_of(frames[0]), number_of(frames[-1])) == (7, 200)


def rewritten(change: Callable[[bytes], bytes]) -> Callable[[Path], object]:
    """Return a maker of a clip whose bytes are changed."""
    return lambda path: path.write_bytes(change(make_clip(path).read_bytes()))


def beside(name: str, text: str) -> Callable[[Path], object]:
    """Return a maker of a text beside a clip."""
    return lambda path: (make_clip(path.with_name(name), count=3), path.write_text(text, encoding="utf-8"))


def without_pictures(content: bytes) -> bytes:
    """Clear the pictures of an mp4, and keep its index."""
    start, end = content.index(b"mdat") + 4, content.index(b"moov") - 4
    return content[:start] + bytes(end - start) + content[end:]


HLS = "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nother.ts\n#EXT-X-ENDLIST\n"


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: path, "no video file at "),
        (lambda path: path.parent, "no video file at "),
        (os.mkfifo, "no video file at "),
        (Path.touch, "is empty"),
        (lambda path: path.write_text("a day's notes\n" * 100), "is no video that can be read"),
        (beside("other.mp4", "ffconcat version 1.0\nfile other.mp4\n"), "is no video that can be read"),
        (beside("other.ts", HLS), "is no video that can be read"),
        (rewritten(lambda content: content[: content.index(b"moov")]), "is no video that can be read"),
        (rewritten(without_pictures), "no frame can be decoded"),
        (lambda path: make_sound(path.with_suffix(".mkv")), r"has no video stream \(audio only\)"),
        (rewritten(lambda content: content.replace(b"avc1", b"zzzz")), "has a video codec that is unknown here"),
        (lambda path: make_clip(path, frames=[numbered(1, 256, 264)]), "has frames of 264 x 256, more than 65536 pix"),
    ],
)
def test_file_that_is_no_video_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], object], said: str
) -> None:
    monkeypatch.setattr(decode, "MAX_PIXELS", 65536)
    made = make(tmp_path / "x.mp4")
    path = made if isinstance(made, Path) else tmp_path / "x.mp4"
    with pytest.raises(DataError, match=f"{re.escape(str(path))}.*{said}|{said}{re.escape(str(path))}"):
        list(SampledFrames(path, 2))


def test_damaged_packets_are_skipped_and_counted(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mp4", count=100, options={"preset": "ultrafast", "g": "5"})
    content = bytearray(path.read_bytes())
    start, end = content.index(b"mdat"), content.index(b"moov")
    place = (start + 2 * end) // 3
    content[place : place + 100] = bytes(100)
    path.write_bytes(content)
    frames = SampledFrames(path, 5)
    found = [number_of(frame) for _, frame in frames]
    assert len(found) == 20
    assert frames.seen.damaged >= 1
    assert 1.5 < frames.seen.damaged_sec < 3
    assert re.match(r"\d+ damaged packets or frames, the first at second [12]\.\d", frames.seen.defects())
    assert sum(number == 5 * k + 2 for k, number in enumerate(found)) >= 16


def test_truncated_file_ends_where_its_frames_end(tmp_path: Path) -> None:
    whole = make_clip(tmp_path / "b.mkv", count=200).read_bytes()
    path = tmp_path / "b.mkv"
    path.write_bytes(whole[: len(whole) // 2])
    frames = SampledFrames(path, 2)
    assert len(list(frames)) == round(frames.seen.duration_sec * 2)
    assert 2 < frames.seen.duration_sec < 6
    assert frames.seen.defects().endswith("of the stated 8.0")
    assert stated_duration(path) == pytest.approx(8.0, abs=0.05)


def test_long_video_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="longer than 1 seconds"):
        list(SampledFrames(make_clip(tmp_path / "a.mp4"), 1, max_sec=1))
