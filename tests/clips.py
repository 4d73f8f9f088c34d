"""Make small video files by PyAV, whose frames carry their number in black and white stripes."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

BITS = 8
MATRICES = {  # of the ISO base media format, by degrees clockwise: a, b, c, d of x' = ax + cy, y' = bx + dy
    90: (0, 1, -1, 0),
    180: (-1, 0, 0, -1),
    270: (0, -1, 1, 0),
    None: (0, 0, 0, 0),
}


def numbered(number: int, height: int = 48, width: int = 64) -> NDArray[np.uint8]:
    bits = [(number >> bit) & 1 for bit in range(BITS)]
    row = np.repeat(np.array(bits, np.uint8) * 255, width // BITS)
    return np.ascontiguousarray(np.broadcast_to(row[None, :, None], (height, width, 3)))


def number_of(frame: NDArray[np.uint8]) -> int:
    stripes = frame.reshape(frame.shape[0], BITS, -1).mean(axis=(0, 2))
    return sum(1 << bit for bit, value in enumerate(stripes) if value > 127)


def make_clip(
    path: Path,
    *,
    frames: Iterable[NDArray[np.uint8]] | None = None,
    times: Sequence[float] | None = None,
    count: int = 50,
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    aspect: Fraction | None = None,
    sound_sec: float = 0,
    muxer: dict[str, str] | None = None,
) -> Path:
    """Write frames, by default ``count`` numbered ones, at ``times``, by default 25 a second, and maybe silence."""
    pictures = [numbered(number) for number in range(count)] if frames is None else list(frames)
    with av.open(str(path), "w", options=muxer or {}) as container:
        stream = container.add_stream(codec, rate=25, options={"preset": "ultrafast"} if options is None else options)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        sound = container.add_stream("aac", rate=8000, layout="mono") if sound_sec else None
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            if times is not None:
                frame.pts, frame.time_base = round(times[number] * 1000), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if sound:
            silence = np.zeros((1, round(8000 * sound_sec)), np.float32)
            samples = av.AudioFrame.from_ndarray(silence, format="fltp", layout="mono")
            samples.rate = 8000
            container.mux([*sound.encode(samples), *sound.encode(None)])
    return path


def make_sound(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def rotate(path: Path, degrees: int | None) -> Path:
    """Set the display matrix of an mp4; None: to zeros, which is no rotation."""
    content = bytearray(path.read_bytes())
    place = content.index(b"tkhd") + 44
    a, b, c, d = (value << 16 for value in MATRICES[degrees])
    content[place : place + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(content)
    return path
