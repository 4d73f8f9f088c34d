"""Videos, each with a duration and pairs of a span and a sentence: what most JSON formats share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from cpnet.data.moment import Moment
from cpnet.data.readers import checks
from cpnet.errors import DataError, shown

Entry = dict[str, object]


def read_videos(path: Path | str, measure: Callable[[Entry, str], tuple[object, float]]) -> list[Moment]:
    """Read ``{video: {timestamps: [[start, end]], sentences: [..], ...}}``.

    ``measure`` takes the entry of a video and the beginning of an error message; it returns the duration in the unit
    of the file, and the number of units per second.

    Raises:
        DataError: the file cannot be read, a key or value is malformed, or no pair is annotated.
    """
    moments: list[Moment] = []
    for video, value in checks.parse_object(checks.read_text(path), str(path)).items():
        where = f"{path}: video {shown(video, 80)}"
        entry = checks.as_object(value, where)
        timestamps = checks.list_member(entry, "timestamps", where)
        sentences = checks.list_member(entry, "sentences", where)
        if len(timestamps) != len(sentences):
            raise DataError(
                f"{where}: {len(timestamps)} timestamps but {len(sentences)} sentences; each pair needs one of "
                "each; correct the file"
            )
        duration, units_per_sec = measure(entry, where)
        pairs = zip(timestamps, sentences, strict=True)
        moments += moments_of(video, pairs, duration=duration, where=where, units_per_sec=units_per_sec)
    return some(moments, path)


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
        start, end = checks.as_span(span, place)
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
    return moments


def some(moments: list[Moment], path: Path | str) -> list[Moment]:
    """Return the moments of a file.

    Raises:
        DataError: there is none
    """
    if not moments:
        raise DataError(f"{path}: the file contains no annotated pair; check the path in the dataset's config")
    return moments
