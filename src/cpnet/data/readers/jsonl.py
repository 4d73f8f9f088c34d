"""JSON lines: the format of newer moment-retrieval code, and the simplest one for your own corpus."""

from __future__ import annotations

from pathlib import Path

from cpnet.data.moment import Moment
from cpnet.data.readers import checks
from cpnet.errors import DataError


def read_jsonl(*, annotations: Path | str) -> list[Moment]:
    """Read ``{"qid", "query", "duration", "vid", "relevant_windows": [[start, end]]}`` (QVHighlights), in seconds.

    A row with several windows yields one pair per window, with qid ``QID:INDEX`` and indices from 0.

    Raises:
        DataError: the file cannot be read, a key or value is malformed, a row has no window, or a qid is repeated.
    """
    moments: list[Moment] = []
    lines: dict[str, int] = {}  # line of each qid
    for line, text in checks.read_lines(annotations):
        where = f"{annotations}: line {line}"
        row = checks.parse_object(text, where)
        qid = checks.member(row, "qid", where)
        qid = checks.as_text(str(qid) if type(qid) is int else qid, "qid", where)
        video = checks.as_text(checks.member(row, "vid", where), "vid", where)
        query = checks.as_query(checks.member(row, "query", where), "query", where)
        duration = checks.as_positive(checks.member(row, "duration", where), "duration", where)
        windows = checks.list_member(row, "relevant_windows", where)
        if not windows:
            raise DataError(f"{where}: 'relevant_windows' is empty; add a window or remove the row")
        for index, window in enumerate(windows):
            name = qid if len(windows) == 1 else f"{qid}:{index}"
            start, end = checks.as_span(window, where)
            if lines.setdefault(name, line) != line:
                raise DataError(f"{where}: the qid {name!r} is on line {lines[name]} too; make it unique")
            span = {"start_sec": start, "end_sec": end, "duration_sec": duration}
            moments.append(Moment(qid=name, video=video, query=query, **span))
    return moments
