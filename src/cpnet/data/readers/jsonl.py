"""JSON lines: the format of newer moment-retrieval code, and the simplest one for a corpus of one's own."""

from __future__ import annotations

from pathlib import Path

from cpnet.data.moment import DataError, Moment
from cpnet.data.readers.checks import (
    as_positive,
    as_query,
    as_span,
    as_text,
    list_member,
    member,
    parse_object,
    read_lines,
)


def read_jsonl(*, annotations: Path | str) -> list[Moment]:
    """Read ``{"qid", "query", "duration", "vid", "relevant_windows": [[start, end]]}`` (QVHighlights), in seconds.

    The qid is the file's, as a string. A row of several windows gives a moment each, ``QID:INDEX``, counted from 0.

    Raises:
        DataError: the file cannot be read, a key or a value is malformed, a row has no window, or a qid appears twice.
    """
    moments: list[Moment] = []
    line_of_qid: dict[str, int] = {}
    for line, text in read_lines(annotations):
        where = f"{annotations}: line {line}"
        row = parse_object(text, where)
        qid = member(row, "qid", where)
        name = as_text(str(qid) if type(qid) is int else qid, "qid", where)
        windows = list_member(row, "relevant_windows", where)
        if not windows:
            raise DataError(f"{where}: 'relevant_windows' is empty; give the pair a window or remove it")
        for index, window in enumerate(windows):
            start_sec, end_sec = as_span(window, where)
            moment = Moment(
                qid=name if len(windows) == 1 else f"{name}:{index}",
                video=as_text(member(row, "vid", where), "vid", where),
                query=as_query(member(row, "query", where), "query", where),
                start_sec=start_sec,
                end_sec=end_sec,
                duration_sec=as_positive(member(row, "duration", where), "duration", where),
            )
            if line_of_qid.setdefault(moment.qid, line) != line:
                raise DataError(
                    f"{where}: the qid {moment.qid!r} is on line {line_of_qid[moment.qid]} too; make it unique"
                )
            moments.append(moment)
    return moments
