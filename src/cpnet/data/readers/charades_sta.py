"""Charades-STA: a line a pair in a text file, and the durations of the videos in the csv file of Charades."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from cpnet.data.moment import DataError, Moment
from cpnet.data.readers.checks import as_positive, as_query, parse_number, read_lines, read_text


def read_charades_sta(*, annotations: Path | str, durations: Path | str) -> list[Moment]:
    """Read ``3MSZA 24.3 30.4##person turn a light on.`` lines (TALL, Gao et al. 2017); times are seconds.

    The qid is ``VIDEO:LINE``, lines counted from 1. ``durations`` is ``Charades_v1_*.csv`` (``id``, ``length``).

    Raises:
        DataError: a file cannot be read, a line or a value is malformed, or a video has no duration.
    """
    duration_secs = _read_durations(durations)
    moments: list[Moment] = []
    missing: dict[str, None] = {}
    for line, text in read_lines(annotations):
        where = f"{annotations}: line {line}"
        place, mark, query = text.partition("##")
        fields = place.split()
        if not mark or len(fields) != 3:
            raise DataError(f"{where}: expected 'VIDEO START END##QUERY', found {text[:80]!r}; correct the line")
        video = fields[0]
        if video not in duration_secs:
            missing[video] = None
            continue
        moments.append(
            Moment(
                qid=f"{video}:{line}",
                video=video,
                query=as_query(query, "query", where),
                start_sec=parse_number(fields[1], "start", where),
                end_sec=parse_number(fields[2], "end", where),
                duration_sec=duration_secs[video],
            )
        )
    if missing:
        raise DataError(
            f"{durations}: no duration for {len(missing)} videos of {annotations}, the first ones "
            f"{', '.join(map(_visible, list(missing)[:10]))}; is this the csv file of the same split?"
        )
    return moments


def _visible(video: str) -> str:
    """An id in which, say, a byte-order mark amid the file can be seen."""
    return video if video.isprintable() else repr(video)


def _read_durations(path: Path | str) -> dict[str, float]:
    # Not strict, a quote that nobody closes would make one value of all the lines that follow.
    rows = csv.DictReader(io.StringIO(read_text(path), newline=""), strict=True)
    duration_secs: dict[str, float] = {}
    try:
        if not {"id", "length"} <= set(rows.fieldnames or ()):
            raise DataError(
                f"{path}: the columns 'id' and 'length' are needed, found {rows.fieldnames}; is this the csv file?"
            )
        for row in rows:
            where = f"{path}: line {rows.line_num}"
            if len(row) > len(rows.fieldnames or ()):
                raise DataError(f"{where}: more values than columns; quote the values that hold a comma")
            video, length = row["id"], row["length"]
            # A blank length is a video without a duration, which only matters where a pair needs it.
            if not length or not length.strip():
                continue
            duration_sec = as_positive(parse_number(length, "length", where), "length", where)
            if duration_secs.setdefault(video, duration_sec) != duration_sec:
                raise DataError(
                    f"{where}: a second length for {video}, {duration_secs[video]} before; keep the right one"
                )
    except csv.Error as error:
        raise DataError(
            f"{path}: line {rows.reader.line_num}: not valid csv ({error}); download the file again"
        ) from error
    return duration_secs
