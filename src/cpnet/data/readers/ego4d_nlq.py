"""Ego4D's natural language queries: a JSON object of videos, each with clips, annotations and queries."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from cpnet.data.moment import Moment
from cpnet.data.readers import checks
from cpnet.data.readers.videos import Entry, moments_of, some

log = logging.getLogger(__name__)

QUERIES, SPAN = "language_queries", ("clip_start_sec", "clip_end_sec")


def read_ego4d_nlq(*, annotations: Path | str) -> list[Moment]:
    """Read ``nlq_train.json`` or ``nlq_val.json`` (Grauman et al. 2022): each clip is a video, times are in seconds.

    Queries without text are skipped with a warning.

    Raises:
        DataError: the file cannot be read, or a key or value is malformed.
    """
    moments: list[Moment] = []
    blank, counts = 0, Counter[str]()
    content = checks.parse_object(checks.read_text(annotations), str(annotations))
    for video in _objects(content, "videos", str(annotations)):
        for clip in _objects(video, "clips", str(annotations)):
            uid = checks.as_text(checks.member(clip, "clip_uid", str(annotations)), "clip_uid", str(annotations))
            where = f"{annotations}: clip {uid[:80]}"
            start, end = (
                checks.as_number(checks.member(clip, key, where), key, where)
                for key in ("video_start_sec", "video_end_sec")
            )
            found = [each for part in _objects(clip, "annotations", where) for each in _objects(part, QUERIES, where)]
            asked = [each for each in found if each.get("query")]
            blank += len(found) - len(asked)
            pairs = [([checks.member(each, key, where) for key in SPAN], each["query"]) for each in asked]
            moments += moments_of(uid, pairs, duration=end - start, where=where, first=counts[uid])
            counts[uid] += len(pairs)
    if blank:
        log.warning("%s: skipped %d queries without text", annotations, blank)
    return some(moments, annotations)


def _objects(entry: Entry, key: str, where: str) -> Iterator[Entry]:
    return (checks.as_object(each, where) for each in checks.list_member(entry, key, where))
