"""TACoS: the shape of ActivityNet Captions, with durations and timestamps in frames."""

from __future__ import annotations

from pathlib import Path

from cpnet.data.moment import DataError, Moment
from cpnet.data.readers.checks import as_positive, member, not_empty
from cpnet.data.readers.videos import read_videos, video_moments


def read_tacos(*, annotations: Path | str, fps: float | None = None) -> list[Moment]:
    """Read ``{video: {timestamps, sentences, num_frames or duration, fps}}``, in frames; moments are in seconds.

    TALL's cut (Gao et al. 2017) has no rate in the file, so ``fps`` is needed; in 2D-TAN's (Zhang et al. 2020) every
    video has one, which wins. The qid is ``VIDEO:INDEX``, the index of the pair in its video counted from 0.

    Raises:
        DataError: the file cannot be read, a key or a value is malformed, or there is no frame rate.
    """
    moments: list[Moment] = []
    for where, video, entry in read_videos(annotations):
        rate = entry.get("fps")
        if rate is None:
            rate = fps
        if rate is None:
            raise DataError(f"{where}: no frame rate in the file; set fps in the dataset's config (29.4 for TACoS)")
        frames = entry["num_frames"] if "num_frames" in entry else member(entry, "duration", where)
        units_per_sec = as_positive(rate, "fps", where)
        moments += video_moments(where, video, entry, duration=frames, units_per_sec=units_per_sec)
    return not_empty(moments, annotations)
