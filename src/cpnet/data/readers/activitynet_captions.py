"""ActivityNet Captions: a JSON object of videos, each with its duration, timestamps and sentences."""

from __future__ import annotations

from pathlib import Path

from cpnet.data.moment import Moment
from cpnet.data.readers.checks import member
from cpnet.data.readers.videos import read_videos


def read_activitynet_captions(*, annotations: Path | str) -> list[Moment]:
    """Read ``{video: {duration, timestamps: [[start, end]], sentences: [..]}}`` (Krishna et al. 2017), in seconds.

    Charades-CD and ActivityNet-CD (Yuan et al. 2021) have this form too; ``duration`` may be ``video_duration``.

    Raises:
        DataError: see ``read_videos``
    """
    return read_videos(annotations, lambda entry, where: (member(entry, "duration", where, "video_duration"), 1.0))
