"""SnAG's files: one JSON object of all splits, with the annotations of each video as a list of objects."""

from __future__ import annotations

from pathlib import Path

from cpnet.data.moment import Moment
from cpnet.data.readers import checks
from cpnet.data.readers.videos import moments_of, some
from cpnet.errors import shown


def read_snag(*, annotations: Path | str, split: str) -> list[Moment]:
    """Read ``{split: {video: {duration, annotations: [{segment: [start, end], sentence}]}}}`` (Mu et al. 2024).

    Times are in seconds. A video without ``duration`` lasts ``num_frames / fps``.

    Raises:
        DataError: the file cannot be read, lacks the split, or a key or value is malformed.
    """
    content = checks.parse_object(checks.read_text(annotations), str(annotations))
    videos = checks.as_object(checks.member(content, split, str(annotations)), f"{annotations}: split {split}")
    moments: list[Moment] = []
    for video, value in videos.items():
        where = f"{annotations}: video {shown(video, 80)}"
        entry = checks.as_object(value, where)
        duration, units_per_sec = entry.get("duration"), 1.0
        if duration is None:
            duration = checks.member(entry, "num_frames", where)
            units_per_sec = checks.as_positive(checks.member(entry, "fps", where), "fps", where)
        length = checks.as_positive(duration, "duration", where) / units_per_sec
        found = checks.list_of_objects(entry, "annotations", where) if "annotations" in entry else []
        pairs = [(checks.member(each, "segment", where), checks.member(each, "sentence", where)) for each in found]
        moments += moments_of(video, pairs, duration=length, where=where)
    return some(moments, annotations)
