"""TACoS, in frames: JSON in the form of ActivityNet Captions, or TALL's text files, one clip per line."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from cpnet.data.moment import Moment
from cpnet.data.readers.checks import as_positive, lines_of, member, read_text
from cpnet.data.readers.tables import read_durations
from cpnet.data.readers.videos import moments_of, read_videos
from cpnet.errors import DataError, shown

_LINE = re.compile(r"(?P<video>.+?)_(?P<start>\d{1,15})_(?P<end>\d{1,15}):(?P<sentences>.*)")


def read_tacos(*, annotations: Path | str, fps: float | None = None) -> list[Moment]:
    """Read ``{video: {timestamps, sentences, num_frames or duration, fps}}``, in frames; return seconds.

    ``fps`` is the frame rate of videos without one in the file: all videos of TALL's split (Gao et al. 2017), none of
    2D-TAN's (Zhang et al. 2020).

    Raises:
        DataError: see ``read_videos``, or the frame rate is unknown
    """

    def measure(entry: dict[str, object], where: str) -> tuple[object, float]:
        rate = fps if entry.get("fps") is None else entry["fps"]
        if rate is None:
            raise DataError(f"{where}: no frame rate in the file; set fps in the dataset's config (29.4 for TACoS)")
        frames = entry["num_frames"] if "num_frames" in entry else member(entry, "duration", where)
        return frames, as_positive(rate, "fps", where)

    return read_videos(annotations, measure)


def read_tacos_text(*, annotations: Path | str, durations: Path | str, fps: float) -> list[Moment]:
    """Read lines such as ``s13-d21.avi_252_452:He takes a board.#He cuts.`` (TALL, Gao et al. 2017), in frames.

    The qid is ``VIDEO:INDEX``. For ``durations``, in seconds, see ``read_durations``.

    Raises:
        DataError: a file cannot be read, a line is malformed, or a video has no duration.
    """
    rate, clips = as_positive(fps, "fps", "dataset.reader"), []
    for line, text in lines_of(read_text(annotations)):
        where = f"{annotations}: line {line}"
        match = _LINE.fullmatch(text.strip())
        sentences = [each for each in match["sentences"].split("#") if each.strip()] if match else []
        if not match or not sentences:
            raise DataError(f"{where}: expected 'VIDEO_START_END:QUERY#QUERY', found {shown(text)}; correct it")
        clips.append((where, match["video"], [int(match["start"]), int(match["end"])], sentences))
    duration_secs = read_durations(durations, videos=[video for _, video, *_ in clips], annotations=annotations)
    moments: list[Moment] = []
    counts = Counter[str]()
    for where, video, span, sentences in clips:
        pairs, frames = [(span, sentence) for sentence in sentences], duration_secs[video] * rate
        moments += moments_of(video, pairs, duration=frames, where=where, units_per_sec=rate, first=counts[video])
        counts[video] += len(pairs)
    return moments
