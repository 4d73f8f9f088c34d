"""JSON lines, or a JSON list of the same rows: the format of newer code, and the simplest for your own corpus."""

from __future__ import annotations

from pathlib import Path

from cpnet.data.moment import Moment
from cpnet.data.readers import checks
from cpnet.errors import DataError, shown


def read_jsonl(*, annotations: Path | str) -> list[Moment]:
    """Read ``{"qid", "query", "duration", "vid", "relevant_windows": [[start, end]]}`` (QVHighlights), in seconds.

    The rows may also be a JSON list, or the only list of rows in a JSON object. Ids may be integers. A row without the
    key ``relevant_windows``, or with null, has no known window: a query to be predicted only.

    Raises:
        DataError: the file cannot be read, a key or value is malformed, a list of windows is empty, or a qid repeats.
    """
    moments: list[Moment] = []
    rows: dict[str, str] = {}  # where each qid is
    for where, row in checks.read_rows(annotations):
        found = checks.member(row, "qid", where)
        qid = checks.as_id(found, "qid", where)
        video = checks.as_id(checks.member(row, "vid", where), "vid", where)
        query = checks.as_query(checks.member(row, "query", where), "query", where)
        duration = checks.as_positive(checks.member(row, "duration", where), "duration", where)
        windows = row.get("relevant_windows")
        if windows == []:
            raise DataError(f"{where}: 'relevant_windows' is empty; add a window or remove the row")
        spans = [] if windows is None else checks.as_list(windows, "relevant_windows", where)
        if rows.setdefault(qid, where) != where:
            place = rows[qid].removeprefix(f"{annotations}: ")
            raise DataError(f"{where}: the qid {shown(qid)} is on {place} too; make it unique")
        moments.append(
            Moment(
                qid=qid,
                video=video,
                query=query,
                windows_sec=tuple(checks.as_span(span, where) for span in spans),
                duration_sec=duration,
                numbered=type(found) is int,
            )
        )
    return moments
