"""JSON lines, or a JSON list of the same rows: the format of newer code, and the simplest for your own corpus."""

from __future__ import annotations

from pathlib import Path

from cpnet.data.moment import Moment
from cpnet.data.readers import checks
from cpnet.errors import DataError, shown


def read_jsonl(*, annotations: Path | str) -> list[Moment]:
    """Read ``{"qid", "query", "duration", "vid", "relevant_windows": [[start, end]]}`` (QVHighlights), in seconds.

    The rows may also be a JSON list, or the only list of rows in a JSON object. Ids may be integers. A row with
    several windows yields one pair per window, with qid ``QID:INDEX`` and indices from 0.

    Raises:
        DataError: the file cannot be read, a key or value is malformed, a row has no window, or a qid is repeated.
    """
    moments: list[Moment] = []
    rows: dict[str, str] = {}  # where each qid is
    for where, row in checks.read_rows(annotations):
        qid = checks.as_id(checks.member(row, "qid", where), "qid", where)
        video = checks.as_id(checks.member(row, "vid", where), "vid", where)
        query = checks.as_query(checks.member(row, "query", where), "query", where)
        duration = checks.as_positive(checks.member(row, "duration", where), "duration", where)
        windows = checks.list_member(row, "relevant_windows", where)
        if not windows:
            raise DataError(f"{where}: 'relevant_windows' is empty; add a window or remove the row")
        for index, window in enumerate(windows):
            name = qid if len(windows) == 1 else f"{qid}:{index}"
            start, end = checks.as_span(window, where)
            if rows.setdefault(name, where) != where:
                place = rows[name].removeprefix(f"{annotations}: ")
                raise DataError(f"{where}: the qid {shown(name)} is on {place} too; make it unique")
            span = {"start_sec": start, "end_sec": end, "duration_sec": duration}
            moments.append(Moment(qid=name, video=video, query=query, **span))
    return moments
