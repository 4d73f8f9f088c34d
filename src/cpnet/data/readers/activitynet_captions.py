"""ActivityNet Captions: a JSON object of videos, each with its duration, timestamps and sentences."""

from __future__ import annotations

from pathlib import Path

from cpnet.data.moment import Moment
from cpnet.data.readers.checks import member, not_empty
from cpnet.data.readers.videos import read_videos, video_moments


def read_activitynet_captions(*, annotations: Path | str) -> list[Moment]:
    """Read ``{video: {duration, timestamps: [[start, end]], sentences: [..]}}`` (Krishna et al. 2017), in seconds.

    The qid is ``VIDEO:INDEX``, the index of the pair in its video counted from 0.

    Raises:
        DataError: the file cannot be read, or a key or a value is malformed; the message names the video.
    """
    moments: list[Moment] = []
    for where, video, entry in read_videos(annotations):
        moments += video_moments(where, video, entry, duration=member(entry, "duration", where))
    return not_empty(moments, annotations)
