"""Read csv files: rows, and durations of videos."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from pathlib import Path

from cpnet.data.readers.checks import as_positive, parse_number, read_text
from cpnet.errors import DataError


def read_table(path: Path | str, *columns: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield (where, values by column) for each row of a csv file; values missing at the end of a row are "".

    Raises:
        DataError: the file cannot be read, is not csv, lacks one of ``columns``, or has a row with too many values.
    """
    # Without strict, an unclosed quote would merge all following lines into one value.
    rows = csv.DictReader(io.StringIO(read_text(path), newline=""), restval="", strict=True)
    try:
        if not {*columns} <= {*(found := rows.fieldnames or ())}:
            wanted = ", ".join(map(repr, columns))
            raise DataError(f"{path}: the columns {wanted} are required, found {found}; is this the csv file?")
        for row in rows:
            where = f"{path}: line {rows.line_num}"
            if None in row:
                raise DataError(f"{where}: more values than columns; quote the values that contain a comma")
            yield where, row
    except csv.Error as error:
        line = rows.reader.line_num
        raise DataError(f"{path}: line {line}: not valid csv ({error}); download the file again") from error


def read_durations(path: Path | str, *, videos: Iterable[str], annotations: Path | str) -> dict[str, float]:
    """Read the columns ``id`` and ``length`` of a csv file: the duration in seconds of each video.

    A blank length is accepted unless the video is in ``videos``, the videos of the file ``annotations``.

    Raises:
        DataError: see ``read_table``; or a length is malformed, a video has two lengths, or one of ``videos`` has none.
    """
    durations: dict[str, float] = {}
    for where, row in read_table(path, "id", "length"):
        video, length = row["id"], row["length"]
        if not length.strip():
            continue
        duration = as_positive(parse_number(length, "length", where), "length", where)
        if durations.setdefault(video, duration) != duration:
            raise DataError(f"{where}: a second length for {video}, {durations[video]} before; keep the right one")
    if missing := [video for video in dict.fromkeys(videos) if video not in durations]:
        # repr shows invisible characters, such as a byte-order mark inside the file.
        first = ", ".join(video if video.isprintable() else repr(video) for video in missing[:10])
        raise DataError(
            f"{path}: no duration for {len(missing)} videos of {annotations}, the first ones {first}; "
            "is this the csv file of the same split?"
        )
    return durations
