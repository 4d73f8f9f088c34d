"""Read csv files: annotations, and durations of videos."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

from cpnet.data.moment import Moment, normalise_id
from cpnet.data.readers.checks import (
    as_id,
    as_positive,
    as_query,
    as_text,
    member,
    parse_number,
    parse_object,
    read_text,
)
from cpnet.errors import DataError, cut, quote, shown


def read_table(path: Path | str, *columns: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield (where, values by column) for each row of a csv file; values missing at the end of a row are "".

    Raises:
        DataError: the file cannot be read, is not csv, lacks one of ``columns``, or has a row with too many values.
    """
    # Without strict, an unclosed quote would merge all following lines into one value.
    rows = csv.DictReader(io.StringIO(read_text(path), newline=""), restval="", strict=True)
    try:
        if not {*columns} <= {*(found := rows.fieldnames or ())}:
            wanted = f"the columns {', '.join(map(repr, columns))} are required"
            raise DataError(f"{path}: {wanted}, found {shown(list(found))}; is this the csv file?")
        for row in rows:
            where = f"{path}: line {rows.line_num}"
            if None in row:
                raise DataError(f"{where}: more values than columns; quote the values that contain a comma")
            yield where, row
    except csv.Error as error:
        line = rows.reader.line_num
        raise DataError(f"{path}: line {line}: not valid csv ({error}); download the file again") from error


def read_csv(*, annotations: Path | str, durations: Path | str | None = None) -> list[Moment]:
    """Read a csv file with the columns video, query, start, end and duration, one pair a row, in seconds.

    The names of hidden-challenges-MR (Otani et al. 2020) are read too: ``id`` or ``video_id``, ``description``,
    ``start (sec)``, ``end (sec)``, ``length``. Other columns are ignored. If no column has the durations, ``durations``
    is a file of them, see ``read_durations``. The qid is ``VIDEO:ROW``, rows counted from 1.

    Raises:
        DataError: a file cannot be read, a column is missing, a value is malformed, or a video has no duration.
    """
    pairs: list[tuple[str, str, tuple[float, float]]] = []
    found: list[float] = []  # durations
    for where, row in read_table(annotations):
        entry: dict[str, object] = {**row}
        video = as_id(member(entry, "video", where, "video_id", "id"), "video", where)
        query = as_query(member(entry, "query", where, "description", "sentence"), "query", where)
        start, end = (
            parse_number(as_text(member(entry, key, where, f"{key} (sec)"), key, where), key, where)
            for key in ("start", "end")
        )
        pairs.append((video, query, (start, end)))
        if durations is None:
            length = as_text(member(entry, "duration", where, "length"), "duration", where)
            found.append(as_positive(parse_number(length, "duration", where), "duration", where))
    if durations is not None:
        known = read_durations(durations, videos=[video for video, *_ in pairs], annotations=annotations)
        found = [known[video] for video, *_ in pairs]
    return [
        Moment(qid=f"{video}:{number}", video=video, query=query, windows_sec=(window,), duration_sec=duration_sec)
        for number, ((video, query, window), duration_sec) in enumerate(zip(pairs, found, strict=True), start=1)
    ]


def read_durations(path: Path | str, *, videos: Sequence[str], annotations: Path | str) -> dict[str, float]:
    """Return the durations in seconds of ``videos``, the videos of the file ``annotations``; ids match when normalised.

    The file is csv with the columns ``id`` and ``length``, which may be blank, or JSON: ``{video: seconds}`` (DRN) or
    ``{video: {"duration": seconds}}`` (VSLNet).

    Raises:
        DataError: see ``read_table``; or a length is malformed, a video has two lengths, or one of ``videos`` has none.
    """
    durations: dict[str, float] = {}
    for where, name, duration in _lengths(path):
        video = normalise_id(name)
        if durations.setdefault(video, duration) != duration:
            raise DataError(f"{where}: a second length for {cut(name)}, {durations[video]} before; keep the right one")
    if missing := [video for video in dict.fromkeys(videos) if normalise_id(video) not in durations]:
        complaint = f"no duration for {len(missing)} videos of {annotations}: {quote(missing)}"
        raise DataError(f"{path}: {complaint}; is this the file of the same split?")
    return {video: durations[normalise_id(video)] for video in videos}


def _lengths(path: Path | str) -> Iterator[tuple[str, str, float]]:
    """Yield (where, video, duration in seconds) of the videos that have one."""
    text = read_text(path)
    if text.lstrip().startswith("{"):
        for video, value in parse_object(text, str(path)).items():
            where = f"{path}: video {shown(video, 80)}"
            length = member(value, "duration", where, "video_duration") if isinstance(value, dict) else value
            yield where, video, as_positive(length, "duration", where)
        return
    for where, row in read_table(path, "id", "length"):
        if row["length"].strip():
            yield where, row["id"], as_positive(parse_number(row["length"], "length", where), "length", where)
