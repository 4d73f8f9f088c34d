"""TACoS: the structure of ActivityNet Captions, with durations and timestamps in frames."""

from __future__ import annotations

from pathlib import Path

from cpnet.data.moment import Moment
from cpnet.data.readers.checks import as_positive, member
from cpnet.data.readers.videos import Entry, read_videos
from cpnet.errors import DataError


def read_tacos(*, annotations: Path | str, fps: float | None = None) -> list[Moment]:
    """Read ``{video: {timestamps, sentences, num_frames or duration, fps}}``, in frames; return seconds.

    ``fps`` is the frame rate of videos without one in the file: all videos of TALL's split (Gao et al. 2017), none of
    2D-TAN's (Zhang et al. 2020).

    Raises:
        DataError: see ``read_videos``, or the frame rate is unknown
    """

    def measure(entry: Entry, where: str) -> tuple[object, float]:
        rate = fps if entry.get("fps") is None else entry["fps"]
        if rate is None:
            raise DataError(f"{where}: no frame rate in the file; set fps in the dataset's config (29.4 for TACoS)")
        frames = entry["num_frames"] if "num_frames" in entry else member(entry, "duration", where)
        return frames, as_positive(rate, "fps", where)

    return read_videos(annotations, measure)
