"""Parts of a video file: a span as a file of its own, and still frames. Does not import torch."""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from itertools import chain, islice, takewhile
from pathlib import Path
from typing import Any

from cpnet.errors import ConfigError, DataError
from cpnet.files import replacing
from cpnet.video.decode import Frame, opened, picture

APART_SEC = 1.0  # by which packets of sound and picture may be apart in a file
MOST_DECODED = 300  # frames for a still; where key frames are further apart, it shows an earlier moment


def cut(path: Path, start_sec: float, end_sec: float, target: Path) -> None:
    """Write a span of a video with its sound as mp4, without encoding it again.

    Packets are copied from the key frame at or before the start; the file tells players to begin at the start itself.
    Sound that mp4 cannot hold is left out.

    Raises:
        ConfigError: PyAV is missing, or the target is the video
        DataError: the video cannot be read, has nothing in the span, or mp4 cannot hold its codec
        OSError: the target cannot be written
    """
    if target.exists() and target.samefile(path):
        raise ConfigError(f"{target} is the video itself; name another file")
    with opened(path) as (source, stream), replacing(target) as file:
        import av

        try:
            with av.open(file, "w", format="mp4") as out:
                _copy(source, stream, out, start_sec, end_sec)
        except (av.error.FFmpegError, ValueError) as error:
            raise DataError(f"{path} cannot be copied to an mp4 ({error}); convert it to mp4 first") from error


def _copy(source: Any, stream: Any, out: Any, start_sec: float, end_sec: float) -> None:
    """Copy the packets of a span; raise ``ValueError`` if no picture is copied."""
    copies = {stream.index: out.add_stream_from_template(stream, opaque=True)}
    for sound in source.streams.audio[:1]:
        with suppress(ValueError):  # mp4 has no sound of this codec
            copies[sound.index] = out.add_stream_from_template(sound, opaque=True)
    first, length_sec = (source.start_time or 0) / 1e6 + start_sec, end_sec - start_sec
    begun = False  # with a key frame
    last: dict[int, int] = {}  # time of decoding, by stream
    source.seek(round(first * 1e6))
    for packet in source.demux([source.streams[index] for index in copies]):
        index, base = packet.stream_index, packet.time_base
        if packet.dts is None and packet.pts is None:  # the empty one at the end
            continue
        if packet.dts is None:  # matroska does not state those of the first reordered frames
            packet.dts = last.get(index, packet.pts - round(APART_SEC / base)) + 1
        if packet.pts is None:
            packet.pts = packet.dts
        last[index] = packet.dts
        after = float(packet.dts * base) - first
        if after >= length_sec + APART_SEC:
            break
        inside = after < length_sec
        begun = begun or (inside and index == stream.index and packet.is_keyframe)
        if inside and (begun if index == stream.index else after >= 0):
            packet.pts -= round(first / base)
            packet.dts -= round(first / base)
            packet.stream = copies[index]
            out.mux(packet)
    if not begun:
        raise ValueError(f"no picture at seconds {start_sec:.1f} to {end_sec:.1f}")


def stills(path: Path, seconds: list[float], *, side: int = 120) -> list[Frame]:
    """Return the frames at some seconds of a video, ``side`` pixels at their shorter side; none if one is not found."""
    from av.error import FFmpegError

    found: list[Frame] = []
    with opened(path) as (container, stream), suppress(FFmpegError):
        origin = (container.start_time or 0) / 1e6
        for second in seconds:
            container.seek(round((origin + second) * 1e6))
            decoded = islice(container.decode(stream), MOST_DECODED)
            first = [*islice(decoded, 1)]  # shown even where the picture begins after the sound
            until = takewhile(lambda each: (each.time or 0) <= origin + second, decoded)  # noqa: B023
            found += [picture(path, frame, stream, side) for frame in deque(chain(first, until), 1)]
    return found if len(found) == len(seconds) else []
