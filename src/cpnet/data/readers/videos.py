"""The structure that ActivityNet Captions and TACoS share: videos with parallel lists of timestamps and sentences."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cpnet.data.moment import Moment
from cpnet.data.readers import checks
from cpnet.errors import DataError

Entry = dict[str, object]


def read_videos(path: Path | str, measure: Callable[[Entry, str], tuple[object, float]]) -> list[Moment]:
    """Read ``{video: {timestamps: [[start, end]], sentences: [..], ...}}``.

    The qid is ``VIDEO:INDEX``, where the index counts the pairs of the video from 0. ``measure`` takes the entry of a
    video and the beginning of an error message; it returns the duration in the unit of the file, and the number of
    units per second.

    Raises:
        DataError: the file cannot be read, a key or value is malformed, or no pair is annotated.
    """
    moments: list[Moment] = []
    for video, value in checks.parse_object(checks.read_text(path), str(path)).items():
        where = f"{path}: video {video!r}"
        checks.as_text(video, "video", where)
        entry = checks.as_object(value, where)
        timestamps = checks.list_member(entry, "timestamps", where)
        sentences = checks.list_member(entry, "sentences", where)
        if len(timestamps) != len(sentences):
            raise DataError(
                f"{where}: {len(timestamps)} timestamps but {len(sentences)} sentences; each pair needs one of "
                "each; correct the file"
            )
        duration, units_per_sec = measure(entry, where)
        # Quotients are checked too, because a division can overflow or underflow.
        length = checks.as_positive(duration, "duration", where) / units_per_sec
        duration_sec = checks.as_positive(length, "duration", where)
        for index, (timestamp, sentence) in enumerate(zip(timestamps, sentences, strict=True)):
            place = f"{where}, pair {index}"
            start, end = checks.as_span(timestamp, place)
            start_sec = checks.as_number(start / units_per_sec, "start", place)
            end_sec = checks.as_number(end / units_per_sec, "end", place)
            moments.append(
                Moment(
                    qid=f"{video}:{index}",
                    video=video,
                    query=checks.as_query(sentence, "sentence", place),
                    windows_sec=((start_sec, end_sec),),
                    duration_sec=duration_sec,
                )
            )
    if not moments:
        raise DataError(f"{path}: the file contains no annotated pair; check the path in the dataset's config")
    return moments
