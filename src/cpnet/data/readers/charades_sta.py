"""Charades-STA: one pair per line of a text file; the durations of the videos are in the csv file of Charades."""

from __future__ import annotations

from pathlib import Path

from cpnet.data.moment import Moment
from cpnet.data.readers.checks import OTHER, as_query, lines_of, parse_number, read_text
from cpnet.data.readers.tables import read_durations
from cpnet.errors import DataError, shown


def read_charades_sta(*, annotations: Path | str, durations: Path | str) -> list[Moment]:
    """Read lines such as ``3MSZA 24.3 30.4##person turn a light on.`` (TALL, Gao et al. 2017), in seconds.

    The qid is ``VIDEO:LINE``, lines counted from 1. ``durations`` is ``Charades_v1_*.csv``, or a JSON
    object, see ``read_durations``.

    Raises:
        DataError: a file cannot be read, a line or value is malformed, or a video has no duration.
    """
    pairs: list[tuple[str, str, str, tuple[float, float]]] = []
    for line, text in lines_of(read_text(annotations)):
        where = f"{annotations}: line {line}"
        place, mark, query = text.partition("##")
        fields = place.split()
        if not mark or len(fields) != 3:
            raise DataError(f"{where}: expected 'VIDEO START END##QUERY', found {shown(text)}; correct it, or {OTHER}")
        video, start, end = fields
        window = parse_number(start, "start", where), parse_number(end, "end", where)
        pairs.append((f"{video}:{line}", video, as_query(query, "query", where), window))
    duration_secs = read_durations(durations, videos=[video for _, video, *_ in pairs], annotations=annotations)
    return [
        Moment(qid=qid, video=video, query=query, windows_sec=(window,), duration_sec=duration_secs[video])
        for qid, video, query, window in pairs
    ]
