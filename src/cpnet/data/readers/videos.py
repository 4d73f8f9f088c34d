"""The shape that ActivityNet Captions and TACoS share: videos with parallel lists of timestamps and sentences."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from cpnet.data.moment import DataError, Moment
from cpnet.data.readers.checks import (
    as_number,
    as_object,
    as_positive,
    as_query,
    as_span,
    as_text,
    list_member,
    parse_object,
    read_text,
)


def read_videos(path: Path | str) -> Iterator[tuple[str, str, dict[str, object]]]:
    """Videos of a file in its order, each as (where, video, entry), where ``where`` begins its error messages.

    Raises:
        DataError: the file or an entry of it is not a JSON object.
    """
    for video, entry in parse_object(read_text(path), str(path)).items():
        where = f"{path}: video {video!r}"
        yield where, as_text(video, "video", where), as_object(entry, where)


def video_moments(
    where: str, video: str, entry: dict[str, object], *, duration: object, units_per_sec: float = 1.0
) -> list[Moment]:
    """Moments of one video, their qid ``VIDEO:INDEX``; durations and timestamps are divided by ``units_per_sec``.

    Raises:
        DataError: timestamps and sentences are not lists of one length, or a value is malformed.
    """
    timestamps, sentences = list_member(entry, "timestamps", where), list_member(entry, "sentences", where)
    if len(timestamps) != len(sentences):
        raise DataError(
            f"{where}: {len(timestamps)} timestamps but {len(sentences)} sentences; give each pair one of both"
        )
    # A division can leave the range of floats, so what it gives is checked too.
    duration_sec = as_positive(as_positive(duration, "duration", where) / units_per_sec, "duration", where)
    moments = []
    for index, (timestamp, sentence) in enumerate(zip(timestamps, sentences, strict=True)):
        place = f"{where}, pair {index}"
        start, end = as_span(timestamp, place)
        moments.append(
            Moment(
                qid=f"{video}:{index}",
                video=video,
                query=as_query(sentence, "sentence", place),
                start_sec=as_number(start / units_per_sec, "start", place),
                end_sec=as_number(end / units_per_sec, "end", place),
                duration_sec=duration_sec,
            )
        )
    return moments
