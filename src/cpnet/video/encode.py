"""Encode one video file as rows of features, the same rows as ``cpnet.video.extract`` writes for training."""

from __future__ import annotations

import json
import math
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import islice, repeat
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cpnet.data.extractor import Extractor
from cpnet.errors import DataError, reason
from cpnet.files import replacing
from cpnet.video.backbones import Backbone
from cpnet.video.decode import Frame, SampledFrames
from cpnet.video.sandbox import Limits, SandboxedFrames

BATCH_FRAMES = 8  # frames that are encoded together; more take more memory and no less time


@dataclass(frozen=True, kw_only=True)
class EncodedVideo:
    """The rows of a video.

    Attributes:
        rows: features, evenly spaced over the video, of shape (N, V), float16 as in a packed store
        duration_sec: length of the video as it was decoded
        extractor: what made the rows
        defects: damage and truncation of the file in words, empty if it is intact
    """

    rows: NDArray[np.float16]
    duration_sec: float
    extractor: Extractor
    defects: str = ""

    def save(self, path: str | Path) -> None:
        """Write the video as one .npz file, atomically; ``load`` reads it.

        Raises:
            DataError: the file cannot be written
        """
        about = {"duration_sec": self.duration_sec, "extractor": self.extractor.to_dict(), "defects": self.defects}
        try:
            with replacing(Path(path).expanduser()) as stream:
                np.savez(stream, rows=self.rows, about=np.array(json.dumps(about)))
        except OSError as error:
            raise DataError(f"{path} cannot be written ({error.strerror}); choose another path") from error

    @classmethod
    def load(cls, path: str | Path) -> EncodedVideo:
        """Read a file of ``save``, without executing code from it.

        Raises:
            DataError: the file cannot be read, or ``save`` did not write it
        """
        try:
            with np.load(Path(path).expanduser(), allow_pickle=False) as arrays:
                rows, about = arrays["rows"], json.loads(str(arrays["about"]))
            video = cls(rows=rows, **about | {"extractor": Extractor(**about["extractor"])})
            fits = rows.dtype == np.float16 and rows.shape == (len(rows) or 1, video.extractor.width)
            if not fits or not 0 < video.duration_sec < math.inf:
                raise DataError(f"rows of shape {rows.shape}, {rows.dtype}, for {video.duration_sec} s")
        except Exception as error:  # damaged bytes can raise almost any type
            raise DataError(
                f"{path} is not an encoded video, or damaged ({reason(error)}); encode the video again"
            ) from error
        return video


def encode_video(
    path: str | Path,
    backbone: Backbone,
    *,
    limits: Limits | None = None,
    threads: int = 1,
    progress: Callable[[float], object] = lambda second: None,
) -> EncodedVideo:
    """Decode and encode a video file; only its rows are kept in memory.

    Args:
        path: the file
        backbone: encodes the frames
        limits: decode in a process of its own with these limits, for a file of unknown origin
        threads: threads of the decoder in this process
        progress: called with the second that is reached

    Raises:
        DataError: see ``SampledFrames`` and ``SandboxedFrames``; a row is not finite or exceeds float16
    """
    frames: SampledFrames | SandboxedFrames
    if limits is None:
        frames = SampledFrames(path, backbone.fps, size=backbone.size, threads=threads)
    else:
        frames = SandboxedFrames(path, backbone.fps, size=backbone.size, limits=limits)

    def pictures() -> Iterator[Frame]:
        for second, frame in frames:
            progress(second)
            yield frame

    windows = windows_of(pictures(), backbone.window, backbone.stride)
    parts = []
    with np.errstate(over="ignore"), closing(windows):  # closing it ends a process of its own, after an error too
        while batch := [np.stack(each) for each in islice(windows, max(1, BATCH_FRAMES // backbone.window))]:
            parts.append(backbone.encode(np.stack(batch)).astype(np.float16))
    rows = np.concatenate(parts)
    if not np.isfinite(rows).all():
        raise DataError(
            f"{path}: backbone={backbone.name} gave values that are not finite or exceed float16; check its weights"
        )
    return EncodedVideo(
        rows=rows, duration_sec=frames.seen.duration_sec, extractor=backbone.extractor(), defects=frames.seen.defects()
    )


def windows_of(frames: Iterable[Frame], window: int, stride: int) -> Generator[list[Frame]]:
    """Yield a window of frames around the middle of every ``stride`` frames; the first and last frame are repeated.

    A row of features thus shows the middle of its share of the video, for windows of any length.

    >>> ["".join(each) for each in windows_of("abcdef", 4, 2)]
    ['aabc', 'bcde', 'deff']
    """
    lead = (window - stride) // 2  # frames of the first window before the first frame; below 0: skipped frames
    held: deque[Frame] = deque(maxlen=window)
    for place, frame in enumerate(_extended(frames, window, stride, lead), start=1 + min(0, lead)):
        held.append(frame)
        if place >= window and (place - window) % stride == 0:
            yield list(held)


def _extended(frames: Iterable[Frame], window: int, stride: int, lead: int) -> Iterator[Frame]:
    """Repeat the first and the last frame as often as the windows need them."""
    count = 0
    for frame in frames:
        yield from repeat(frame, 1 if count else 1 + max(0, lead))
        count += 1
    if count:
        rows = max(1, math.floor(count / stride + 0.5))
        yield from repeat(frame, (rows - 1) * stride + window - lead - count)
