"""JSON lines: the format of newer moment-retrieval code, and the simplest one for your own corpus."""

from __future__ import annotations

from pathlib import Path

from cpnet.data.moment import Moment
from cpnet.data.readers import checks
from cpnet.errors import DataError


def read_jsonl(*, annotations: Path | str) -> list[Moment]:
    """Read ``{"qid", "query", "duration", "vid", "relevant_windows": [[start, end]]}`` (QVHighlights), in seconds.

    A row without the key ``relevant_windows``, or with null, has no known window: a query to be predicted only.

    Raises:
        DataError: the file cannot be read, a key or value is malformed, a list of windows is empty, or a qid repeats.
    """
    moments: list[Moment] = []
    lines: dict[str, int] = {}  # line of each qid
    for line, text in checks.read_lines(annotations):
        where = f"{annotations}: line {line}"
        row = checks.parse_object(text, where)
        found = checks.member(row, "qid", where)
        numbered = type(found) is int
        qid = checks.as_text(str(found) if numbered else found, "qid", where)
        video = checks.as_text(checks.member(row, "vid", where), "vid", where)
        query = checks.as_query(checks.member(row, "query", where), "query", where)
        duration = checks.as_positive(checks.member(row, "duration", where), "duration", where)
        windows: list[object] = []
        if row.get("relevant_windows") is not None:
            windows = checks.list_member(row, "relevant_windows", where)
            if not windows:
                raise DataError(f"{where}: 'relevant_windows' is empty; add a window or remove the row")
        if lines.setdefault(qid, line) != line:
            raise DataError(f"{where}: the qid {qid!r} is on line {lines[qid]} too; make it unique")
        spans = tuple(checks.as_span(window, where) for window in windows)
        moment = Moment(qid=qid, video=video, query=query, windows_sec=spans, duration_sec=duration, numbered=numbered)
        moments.append(moment)
    return moments
