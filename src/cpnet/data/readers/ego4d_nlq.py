"""Ego4D's natural language queries: a JSON object of videos, each with clips, annotations and queries."""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path

from cpnet.data.moment import Moment
from cpnet.data.readers.checks import as_id, as_number, list_of_objects, member, parse_object, read_text
from cpnet.data.readers.videos import moments_of, some

log = logging.getLogger(__name__)


def read_ego4d_nlq(*, annotations: Path | str) -> list[Moment]:
    """Read ``nlq_train.json`` or ``nlq_val.json`` (Grauman et al. 2022): each clip is a video, times are in seconds.

    The qid is ``CLIP:INDEX``. Queries without text are skipped with a warning.

    Raises:
        DataError: the file cannot be read, or a key or value is malformed.
    """
    moments, skipped, counts, where = list[Moment](), 0, Counter[str](), str(annotations)
    for video in list_of_objects(parse_object(read_text(annotations), where), "videos", where):
        for clip in list_of_objects(video, "clips", where):
            uid = as_id(member(clip, "clip_uid", where), "clip_uid", where)
            place = f"{where}: clip {uid[:80]}"
            start, end = (as_number(member(clip, f"video_{edge}_sec", place), edge, place) for edge in ("start", "end"))
            parts = list_of_objects(clip, "annotations", place)
            queries = [each for part in parts for each in list_of_objects(part, "language_queries", place)]
            asked = [each for each in queries if each.get("query")]
            spans = [[member(each, f"clip_{edge}_sec", place) for edge in ("start", "end")] for each in asked]
            pairs = zip(spans, (each["query"] for each in asked), strict=True)
            moments += moments_of(uid, pairs, duration=end - start, where=place, first=counts[uid])
            counts[uid] += len(asked)
            skipped += len(queries) - len(asked)
    if skipped:
        log.warning("%s: skipped %d queries without text", annotations, skipped)
    return some(moments, annotations)
