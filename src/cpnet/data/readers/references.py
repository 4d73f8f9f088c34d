"""Read the spans of several annotators for each pair."""

from __future__ import annotations

from pathlib import Path

from cpnet.data.moment import normalise_id
from cpnet.data.readers.checks import as_query, as_text, parse_number
from cpnet.data.readers.tables import read_table
from cpnet.errors import DataError, quote

Span = tuple[float, float]
Marked = dict[str, list[Span]]  # spans in seconds by annotator

COLUMNS = {  # names of each column, in any case
    "video": ("video", "vid", "video_id"),
    "query": ("query", "sentence", "description"),
    "start": ("start", "start_sec", "start_time"),
    "end": ("end", "end_sec", "end_time"),
    "annotator": ("annotator", "annotator_id", "worker", "worker_id"),
}


def read_references(path: Path | str) -> dict[tuple[str, str], Marked]:
    """Read a csv file with a span a row; return the spans of each pair, by normalised video and query.

    An annotator who marks several spans for a pair has several rows.

    Raises:
        DataError: see ``read_table``; or a column or a value is missing, a time is no number, or a span is not positive
    """
    found: dict[tuple[str, str], Marked] = {}
    names: dict[str, str] = {}
    for where, row in read_table(path):
        names = names or _columns(path, list(row))
        values = {key: row[name] for key, name in names.items()}
        start, end = (parse_number(values[key], key, where) for key in ("start", "end"))
        if end <= start:
            raise DataError(f"{where}: the span [{start:g}, {end:g}] ends before it starts or is empty; correct it")
        pair = normalise_id(as_text(values["video"], "video", where).strip()), as_query(values["query"], "query", where)
        spans = found.setdefault(pair, {}).setdefault(as_text(values["annotator"], "annotator", where).strip(), [])
        if (start, end) not in spans:
            spans.append((start, end))
    if not found:
        raise DataError(f"{path}: no row; the columns {', '.join(COLUMNS)} and a span a row are needed")
    return found


def _columns(path: Path | str, heads: list[str]) -> dict[str, str]:
    """Return the column of each value."""
    known = {head.strip().lower(): head for head in heads}
    found = {key: next((known[name] for name in names if name in known), None) for key, names in COLUMNS.items()}
    if missing := [" or ".join(COLUMNS[key]) for key, head in found.items() if head is None]:
        raise DataError(f"{path}: no column {', no column '.join(missing)}; found {quote(heads)}; rename its columns")
    return {key: head for key, head in found.items() if head is not None}
