"""Decode a video file from its first to its last frame, and sample frames at a rate.

The time of a frame is its timestamp, relative to the start of the file. Sample i of a rate of r frames a second shows
what a player shows at second (i + 0.5) / r, so that the samples divide the video evenly. Memory does not depend on the
length of the video. Does not import torch: ``cpnet.video.sandbox`` decodes in a process of its own.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cpnet.errors import ConfigError, DataError, cut

if TYPE_CHECKING:
    from av import Packet, VideoFrame
    from av.container import InputContainer
    from av.video.stream import VideoStream

Frame = NDArray[np.uint8]  # (height, width, 3), RGB, upright
Size = int | tuple[int, int] | None  # length of the shorter side, or height and width; None: as stored

SUFFIXES = (
    *(".3gp", ".asf", ".avi", ".flv", ".gif", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts"),
    *(".ogg", ".ogv", ".ts", ".webm", ".wmv"),
)
# Demuxers of these files. Others open more files, such as playlists: a text file named .mp4 could be one.
FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,ogg,flv,mpeg,asf,gif"
MAX_PIXELS = 40_000_000  # of a frame, a little more than 8K
MAX_SEC = 24 * 3600.0
MAX_GAP_SEC = 10.0  # a larger jump of the timestamps beyond the stated end is an error of the file
MAX_STRETCH = 16  # ratio of the sides of a frame


@dataclass
class Seen:
    """What was decoded of a video so far.

    Attributes:
        duration_sec: end of the last frame, whatever the file states
        frames: decoded frames
        damaged: packets, frames and timestamps that were damaged
        damaged_sec: second of the first damage
        stated_sec: duration that the file states, 0 if none
    """

    duration_sec: float = 0.0
    frames: int = 0
    damaged: int = 0
    damaged_sec: float = 0.0
    stated_sec: float = 0.0

    def add_damage(self) -> None:
        """Count a damaged packet, frame or timestamp at the end of what was seen."""
        self.damaged_sec = self.damaged_sec if self.damaged else self.duration_sec
        self.damaged += 1

    def defects(self) -> str:
        """Describe damage and truncation, empty if the file is intact.

        >>> Seen(duration_sec=8.0, frames=200, damaged=2, damaged_sec=3.2, stated_sec=30.0).defects()
        '2 damaged packets or frames, the first at second 3.2; ends at second 8.0 of the stated 30.0'
        """
        found = []
        if self.damaged:
            found.append(f"{self.damaged} damaged packets or frames, the first at second {self.damaged_sec:.1f}")
        if self.duration_sec < 0.95 * self.stated_sec - 1:
            found.append(f"ends at second {self.duration_sec:.1f} of the stated {self.stated_sec:.1f}")
        return "; ".join(found)


class SampledFrames:
    """Iterates over ``(second, frame)`` of a video file at a rate, once and in order.

    Frames are upright RGB with square pixels, of shape (height, width, 3) uint8 and read-only, all of the first one's
    shape. A frame that is shown longer than a sample is repeated; a damaged packet is skipped and counted in ``seen``.

    Args:
        path: the file
        fps: samples per second, above 0
        size: length of the shorter side, or height and width; None keeps the size
        threads: threads of the decoder
        max_sec: longer videos are refused

    Raises:
        ConfigError: PyAV is missing
        DataError: the file is missing, is no video, has no picture, is too large or too long; iteration raises it
    """

    def __init__(
        self, path: str | Path, fps: float, *, size: Size = None, threads: int = 1, max_sec: float = MAX_SEC
    ) -> None:
        self.path, self.fps, self.size, self.threads, self.max_sec = Path(path), fps, size, threads, max_sec
        self.seen = Seen()

    def __iter__(self) -> Iterator[tuple[float, Frame]]:
        self.seen = Seen()
        shown: VideoFrame | None = None
        sample, size = 0, self.size
        with opened(self.path) as (container, stream):
            stream.codec_context.thread_count = self.threads
            self.seen.stated_sec = _stated_sec(container, stream)
            for time, frame in self._timed(container, stream):
                if (sample + 0.5) / self.fps < time:
                    sampled = picture(self.path, shown or frame, stream, size)
                    size = sampled.shape[:2]
                while (sample + 0.5) / self.fps < time:
                    yield (sample + 0.5) / self.fps, sampled
                    sample += 1
                shown = frame
            if shown is None:
                raise DataError(f"{self.path}: no frame can be decoded ({self.seen.defects() or 'it has none'})")
            sampled = picture(self.path, shown, stream, size)
            while sample == 0 or (sample + 0.5) / self.fps < self.seen.duration_sec:
                yield (sample + 0.5) / self.fps, sampled
                sample += 1

    def _timed(self, container: InputContainer, stream: VideoStream) -> Iterator[tuple[float, VideoFrame]]:
        """Yield the frames with their times, which never decrease."""
        seen, last, spacing = self.seen, 0.0, 1 / float(stream.average_rate or 25)
        origin = None if container.start_time is None else container.start_time / 1e6
        for frame in self._decoded(container, stream):
            if origin is None:
                origin = frame.time or 0.0
            time = seen.duration_sec if frame.time is None else max(0.0, frame.time - origin)
            latest = max(seen.stated_sec or 3600, seen.duration_sec) + MAX_GAP_SEC
            if not last - 1 <= time <= latest:
                seen.add_damage()
                time = seen.duration_sec
            if time > self.max_sec:
                raise DataError(f"{self.path} is longer than {self.max_sec:.0f} seconds; cut it into shorter files")
            last = max(last, time)
            length = float(frame.duration * frame.time_base) if frame.duration and frame.time_base else spacing
            seen.duration_sec = max(seen.duration_sec, last + min(length, MAX_GAP_SEC))
            seen.frames += 1
            yield last, frame

    def _decoded(self, container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
        """Yield the frames packet by packet: ``container.decode`` would end at the first damaged one."""
        from av.error import FFmpegError

        for packet in _packets(container, stream, self.seen):
            try:
                frames = stream.codec_context.decode(packet)
            except EOFError:  # empty already
                return
            except FFmpegError:
                self.seen.add_damage()
                continue
            if any(part.is_corrupt for part in (packet, *frames) if part is not None):
                self.seen.add_damage()
            yield from frames


def picture(path: Path, frame: VideoFrame, stream: VideoStream, size: Size) -> Frame:
    """Return a decoded frame of a file in a size, upright and with square pixels.

    Raises:
        DataError: the frame cannot be converted
    """
    turns = round(frame.rotation / 90) % 4 if abs(frame.rotation) <= 360 else 0  # the file may state any number
    height, width = _target(frame, stream.sample_aspect_ratio, size, turned=turns % 2 == 1)
    try:
        array = frame.reformat(width, height, format="rgb24", interpolation="BICUBIC").to_ndarray()
    except (ValueError, OSError, MemoryError) as error:
        raise DataError(f"{path}: the frame at second {frame.time or 0:.1f} cannot be converted ({error})") from error
    upright: Frame = np.ascontiguousarray(np.rot90(array, turns), np.uint8)
    upright.setflags(write=False)
    return upright


@contextmanager
def opened(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open a file with FFmpeg and find its first video stream. No other file or address is opened.

    Raises:
        ConfigError: PyAV is missing
        DataError: the file is missing or empty, is no video, or has no picture
    """
    try:
        import av
        from av.error import FFmpegError
        from av.stream import Disposition
    except ImportError as error:
        raise ConfigError("reading video files needs PyAV: pip install 'cpnet-grounding[video]'") from error
    if not os.path.isfile(path):  # noqa: PTH113  # a pipe would block; False where a folder cannot be read
        raise DataError(f"no video file at {path}; check the path")
    if not path.stat().st_size:
        raise DataError(f"{path} is empty; copy it again")
    av.logging.set_level(None)  # damaged files would flood stderr
    # An absolute path cannot be the address of a protocol.
    name, options = os.path.abspath(path), {"format_whitelist": FORMATS, "protocol_whitelist": "file"}  # noqa: PTH100
    try:
        container = av.open(name, options=options, metadata_errors="ignore")
    except (OSError, ValueError, FFmpegError) as error:
        reason = cut(str(getattr(error, "strerror", None) or error))
        raise DataError(
            f"{path} is no video that can be read ({reason}); convert it to mp4, or copy it again"
        ) from error
    with container:
        covers = Disposition.attached_pic  # such as that of a song
        stream = next((each for each in container.streams.video if not each.disposition & covers), None)
        if stream is None:
            kinds = sorted({each.type for each in container.streams if each.type != "video"})
            raise DataError(f"{path} has no video stream ({', '.join(kinds) or 'a picture'} only); choose another file")
        if not hasattr(stream, "width"):  # PyAV has no decoder for it
            raise DataError(f"{path} has a video codec that is unknown here; convert it to mp4")
        if stream.width * stream.height > MAX_PIXELS:
            raise DataError(
                f"{path} has frames of {stream.width} x {stream.height}, more than {MAX_PIXELS} pixels; scale it down"
            )
        stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}  # frames may grow later
        yield container, stream


def stated_duration(path: Path) -> float:
    """Return the duration in seconds that a file states, 0 if it states none.

    Raises:
        DataError: see ``opened``
    """
    with opened(path) as (container, stream):
        return _stated_sec(container, stream)


def _packets(container: InputContainer, stream: VideoStream, seen: Seen) -> Iterator[Packet[Any] | None]:
    """Yield packets up to the first that cannot be read, as in a truncated file, then None to empty the decoder."""
    from av.error import FFmpegError

    try:
        yield from container.demux(stream)
    except FFmpegError:
        seen.add_damage()
    yield None


def _stated_sec(container: InputContainer, stream: VideoStream) -> float:
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    end = (container.duration or 0) / 1e6
    # Matroska states the end of the last frame, even if the first does not start at 0.
    return end - (container.start_time or 0) / 1e6 if end and "matroska" in container.format.name else end


def _target(frame: VideoFrame, aspect: Any, size: Size, *, turned: bool) -> tuple[int, int]:
    """Return height and width before the rotation of a frame that has square pixels and the wanted size after it."""
    if isinstance(size, tuple):
        return (size[1], size[0]) if turned else size
    height, width = float(frame.height), frame.width * float(aspect or 1)
    width = min(max(width, height / MAX_STRETCH), height * MAX_STRETCH)
    scale = size / min(height, width) if size else math.sqrt(min(1, MAX_PIXELS / (height * width)))
    return max(1, round(height * scale)), max(1, round(width * scale))
