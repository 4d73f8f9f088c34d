"""JSON files of videos, each with a duration and pairs of a span and a sentence: one reader per form."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from cpnet.data.moment import Moment
from cpnet.data.readers import checks
from cpnet.errors import DataError, shown

CLIP, SPAN = ("video_start_sec", "video_end_sec"), ("clip_start_sec", "clip_end_sec")  # keys of Ego4D

log = logging.getLogger(__name__)


def read_activitynet_captions(*, annotations: Path | str) -> list[Moment]:
    """Read ``{video: {duration, timestamps: [[start, end]], sentences: [..]}}`` (Krishna et al. 2017), in seconds.

    Charades-CD and ActivityNet-CD (Yuan et al. 2021) have this form too; ``duration`` may be ``video_duration``.

    Raises:
        DataError: see ``read_videos``
    """
    return read_videos(
        annotations, lambda entry, where: (checks.member(entry, "duration", where, "video_duration"), 1.0)
    )


def read_lists(*, annotations: Path | str) -> list[Moment]:
    """Read ``[[video, duration, [start, end], sentence], ..]`` (CNM and CPL, Zheng et al. 2022), in seconds.

    The qid is ``VIDEO:ROW``, rows counted from 1.

    Raises:
        DataError: the file cannot be read, or a row or value is malformed
    """
    rows = checks.as_list(checks.parse_json(checks.read_text(annotations), str(annotations)), "rows", str(annotations))
    moments: list[Moment] = []
    for number, row in enumerate(rows, start=1):
        where = f"{annotations}: row {number}"
        if not isinstance(row, list) or len(row) != 4:
            form = "[video, duration, [start, end], sentence]"
            raise DataError(f"{where}: expected {form}, found {shown(row)}; correct it")
        video, duration, span, sentence = row
        moments += moments_of(video, [(span, sentence)], duration=duration, where=where, first=number)
    return moments


def read_snag(*, annotations: Path | str, split: str) -> list[Moment]:
    """Read ``{split: {video: {duration, annotations: [{segment: [start, end], sentence}]}}}`` (Mu et al. 2024).

    Times are in seconds. A video without ``duration`` lasts ``num_frames / fps``.

    Raises:
        DataError: the file cannot be read, lacks the split, or a key or value is malformed
    """
    content = checks.parse_object(checks.read_text(annotations), str(annotations))
    videos = checks.as_object(checks.member(content, split, str(annotations)), f"{annotations}: split {split}")
    moments: list[Moment] = []
    for video, value in videos.items():
        where = f"{annotations}: video {shown(video, 80)}"
        entry = checks.as_object(value, where)
        duration = entry.get("duration")
        if duration is None:
            frames = checks.as_positive(checks.member(entry, "num_frames", where), "num_frames", where)
            duration = frames / checks.as_positive(checks.member(entry, "fps", where), "fps", where)
        found = checks.objects(entry, "annotations", where) if "annotations" in entry else []
        pairs = [(checks.member(each, "segment", where), checks.member(each, "sentence", where)) for each in found]
        moments += moments_of(video, pairs, duration=duration, where=where)
    return moments


def read_ego4d_nlq(*, annotations: Path | str) -> list[Moment]:
    """Read ``nlq_train.json`` or ``nlq_val.json`` (Grauman et al. 2022): each clip is a video, times are in seconds.

    The qid is ``CLIP:INDEX``. Queries without text are skipped with a warning.

    Raises:
        DataError: the file cannot be read, or a key or value is malformed
    """
    moments, skipped, counts, where = list[Moment](), 0, Counter[str](), str(annotations)
    videos = checks.objects(checks.parse_object(checks.read_text(annotations), where), "videos", where)
    for clip in (clip for video in videos for clip in checks.objects(video, "clips", where)):
        uid = checks.as_id(checks.member(clip, "clip_uid", where), "clip_uid", where)
        place = f"{where}: clip {uid[:80]}"
        start, end = (checks.as_number(checks.member(clip, key, place), key, place) for key in CLIP)
        parts = checks.objects(clip, "annotations", place)
        queries = [each for part in parts for each in checks.objects(part, "language_queries", place)]
        asked = [each for each in queries if each.get("query")]
        pairs = [([checks.member(each, key, place) for key in SPAN], each["query"]) for each in asked]
        moments += moments_of(uid, pairs, duration=end - start, where=place, first=counts[uid])
        counts[uid] += len(asked)
        skipped += len(queries) - len(asked)
    if skipped:
        log.warning("%s: skipped %d queries without text", annotations, skipped)
    return moments


def read_videos(path: Path | str, measure: Callable[[dict[str, object], str], tuple[object, float]]) -> list[Moment]:
    """Read ``{video: {timestamps: [[start, end]], sentences: [..], ...}}``.

    ``measure`` takes the entry of a video and the beginning of an error message; it returns the duration in the unit
    of the file, and the number of units per second.

    Raises:
        DataError: the file cannot be read, or a key or value is malformed
    """
    moments: list[Moment] = []
    for video, value in checks.parse_object(checks.read_text(path), str(path)).items():
        where = f"{path}: video {shown(video, 80)}"
        entry = checks.as_object(value, where)
        timestamps, sentences = (
            checks.as_list(checks.member(entry, key, where), key, where) for key in ("timestamps", "sentences")
        )
        if len(timestamps) != len(sentences):
            counts = f"{len(timestamps)} timestamps but {len(sentences)} sentences"
            raise DataError(f"{where}: {counts}; correct the file: each pair needs one of each")
        duration, units_per_sec = measure(entry, where)
        pairs = zip(timestamps, sentences, strict=True)
        moments += moments_of(video, pairs, duration=duration, where=where, units_per_sec=units_per_sec)
    return moments


def moments_of(
    video: object,
    pairs: Iterable[tuple[object, object]],
    *,
    duration: object,
    where: str,
    units_per_sec: float = 1.0,
    first: int = 0,
) -> list[Moment]:
    """Check the pairs of a span and a sentence of a video. The qids are ``VIDEO:INDEX``, counted from ``first``.

    Raises:
        DataError: a value is malformed
    """
    video = checks.as_id(video, "video", where)
    # Quotients are checked too, because a division can overflow or underflow.
    length = checks.as_positive(duration, "duration", where) / units_per_sec
    duration_sec = checks.as_positive(length, "duration", where)
    moments = []
    for index, (span, sentence) in enumerate(pairs, start=first):
        place = f"{where}, pair {index}"
        query = checks.as_query(sentence, "sentence", place)
        start, end = (time / units_per_sec for time in checks.as_span(span, place))
        window = checks.as_number(start, "start", place), checks.as_number(end, "end", place)
        qid = f"{video}:{index}"
        moments.append(Moment(qid=qid, video=video, query=query, windows_sec=(window,), duration_sec=duration_sec))
    return moments
