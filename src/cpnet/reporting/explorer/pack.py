"""Columns of the test pairs of up to six runs, compressed for a page of HTML."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cpnet.reporting.gather import Run
from cpnet.reporting.tables import Table
from cpnet.runs.predictions import FILE, PredictionRow, read_predictions
from cpnet.terminal import one_line

MOST_RUNS = 6  # as many colours as are easily told apart
MOST_SPANS = 5  # ranked predictions of a pair
LONGEST = 2000  # characters of a query, and of a name
NOT_ASKED = "not asked for; attention=all or attention=200 (pairs) adds it"

Bytes = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class Attention:
    """Where a run's model looks on some pairs, quantised.

    Attributes:
        pairs: their places in order of qid, ascending
        clips: for each, the attention over equal parts of the video; 255 is the pair's highest
        words: for each, the words that the model reads; empty for a model without attention to words
        weights: for each, the weight of each of its words; 255 is all of the weight
    """

    pairs: Sequence[int]
    clips: Sequence[Bytes]
    words: Sequence[Sequence[str]] = ()
    weights: Sequence[Bytes] = ()


@dataclass(frozen=True, kw_only=True)
class Pack:
    """Content of an explorer: named columns, and the attention of all runs in a row, which opens later."""

    columns: Mapping[str, Any]
    attention: bytes

    def blocks(self) -> tuple[str, str]:
        """Return the columns and the attention as base64 of gzip, which contains no ``<``."""
        text = json.dumps(self.columns, separators=(",", ":"), allow_nan=False)
        return _compressed(text.encode()), _compressed(self.attention)


def shown_runs(table: Table) -> list[tuple[str, Run]]:
    """Return up to six runs with their names: all runs of a table, or the first seed of each of the first rows."""
    every = [(row, run) for row in table.rows for run in row.runs]
    if len(every) <= MOST_RUNS:
        several = {row.name for row in table.rows if len(row.runs) > 1}
        return [
            (f"{row.name}, seed {run.results.seed}" if row.name in several else row.name, run) for row, run in every
        ]
    return [(row.name, row.runs[0]) for row in table.rows[:MOST_RUNS]]


def pack(table: Table, attention: Sequence[Attention | str] = ()) -> Pack:
    """Read the predictions of a table's ``shown_runs``, and return their columns in order of qid.

    Args:
        table: rows of the same pairs
        attention: of each run, or why it has none; empty if it is not asked for

    Raises:
        DataError: predictions.jsonl of a run has changed and cannot be read
    """
    shown, total = shown_runs(table), sum(len(row.runs) for row in table.rows)
    read = [_read(run) for _, run in shown]
    pairs, numbers = read[0], dict[str, int]()
    of_run, data, words = [], bytearray(), [""] * len(pairs)
    for (name, run), rows, looks in zip(shown, read, attention or [NOT_ASKED] * len(shown), strict=True):
        about: dict[str, Any] = {"name": _plain(name), "iou": [round(iou, 6) for iou in run.scores["mIoU"].tolist()]}
        about |= _ranked(rows)
        if isinstance(looks, Attention):
            about["attention"] = _append(looks.pairs, looks.clips, data)
            about["words"] = _append(looks.pairs, looks.weights, data) if looks.words else None
            for place, each in zip(looks.pairs, looks.words, strict=bool(looks.words)):
                words[place] = max(words[place], "\n".join(map(_plain, each)), key=len)  # another run may read fewer
        else:
            about["without"] = _plain(looks)
        of_run.append(about)
    few = f"{len(shown)} of {total} runs: the first seed of the first {len(shown)} rows" if len(shown) < total else ""
    columns = {
        "title": _plain(table.title.removesuffix(" (per cent)")),
        "note": few,
        "qid": [_plain(row.qid) for row in pairs],
        "query": [_plain(row.query) for row in pairs],
        "video": [numbers.setdefault(_plain(row.video), len(numbers)) for row in pairs],
        "videos": [*numbers],
        "duration": [round(row.duration, 3) for row in pairs],
        "windows": [_times(row.true) for row in pairs],
        "tokens": words if any(words) else [],
        "runs": of_run,
    }
    return Pack(columns=columns, attention=bytes(data))


def sorted_qids(run: Run) -> list[str]:
    """Return the identifiers of a run's pairs in the order of its scores."""
    return [row.qid for row in _read(run)]


def _read(run: Run) -> list[PredictionRow]:
    return sorted(read_predictions(run.folder / FILE), key=lambda row: row.qid)


def _ranked(rows: Sequence[PredictionRow]) -> dict[str, Any]:
    """Return the first ranked spans of all pairs in one list, null for a missed pair, and their number a pair."""
    spans = min(MOST_SPANS, max(len(row.predicted) for row in rows))
    missed = [None] * 2 * spans
    return {"spans": spans, "predicted": [time for row in rows for time in (_times(row.predicted[:spans]) or missed)]}


def _append(pairs: Sequence[int], weights: Sequence[Bytes], data: bytearray) -> dict[str, Any]:
    """Append weights to the data; return where they begin, and the number of each pair's."""
    start = len(data)
    for each in weights:
        data += each.tobytes()
    return {"at": start, "pairs": [*pairs], "counts": [len(each) for each in weights]}


def _times(spans: Iterable[tuple[float, float]]) -> list[float]:
    return [round(time, 3) for span in spans for time in span]


def _plain(text: str) -> str:
    return one_line(text)[:LONGEST]


def _compressed(content: bytes) -> str:
    return base64.b64encode(gzip.compress(content, 9, mtime=0)).decode()
