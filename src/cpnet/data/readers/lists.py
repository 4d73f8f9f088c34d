"""JSON rows without keys: a list of lists of video, duration, span and sentence."""

from __future__ import annotations

from pathlib import Path

from cpnet.data.moment import Moment
from cpnet.data.readers.checks import OTHER, parse_json, read_text
from cpnet.data.readers.videos import moments_of, some
from cpnet.errors import DataError, shown


def read_lists(*, annotations: Path | str) -> list[Moment]:
    """Read ``[[video, duration, [start, end], sentence], ..]`` (CNM and CPL, Zheng et al. 2022), in seconds.

    The qid is ``VIDEO:ROW``, rows counted from 1.

    Raises:
        DataError: the file cannot be read, or a row or value is malformed.
    """
    rows = parse_json(read_text(annotations), str(annotations))
    if not isinstance(rows, list):
        raise DataError(f"{annotations}: expected a list of rows, found {shown(rows)}; check the path, or {OTHER}")
    moments: list[Moment] = []
    for number, row in enumerate(rows, start=1):
        where = f"{annotations}: row {number}"
        if not isinstance(row, list) or len(row) != 4:
            raise DataError(
                f"{where}: expected [video, duration, [start, end], sentence], found {shown(row)}; correct it"
            )
        video, duration, span, sentence = row
        moments += moments_of(video, [(span, sentence)], duration=duration, where=where, first=number)
    return some(moments, annotations)
