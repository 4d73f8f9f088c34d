"""predictions.jsonl: one JSON object per pair, from which every metric can be recomputed; submission.jsonl."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from cpnet.errors import DataError, cut, shown
from cpnet.files import replacing
from cpnet.runs.typed_json import parse

FILE = "predictions.jsonl"
SUBMISSION = "submission.jsonl"  # in the form of evaluation servers

Span = tuple[float, float]
_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode


@dataclass(frozen=True, kw_only=True, slots=True)
class PredictionRow:
    """Prediction for one pair.

    Attributes:
        qid: identifier of the pair
        video: identifier of the video
        query: the sentence
        duration: length of the video in seconds
        predicted: ranked (start, end) in seconds, best first; empty for a missed pair, whose video has no features
        true: (start, end) of each true window in seconds; empty if none is known
        iou: IoU of the first prediction with its best window, 0 without a prediction; None without a window
        rarest: number of training queries with the query's rarest word; None in older files
    """

    qid: str
    video: str
    query: str
    duration: float
    predicted: tuple[Span, ...]
    true: tuple[Span, ...]
    iou: float | None
    rarest: int | None = None


def write_predictions(path: Path, rows: Iterable[PredictionRow]) -> int:
    """Write a predictions file atomically; return the number of rows.

    Raises:
        OSError: the file cannot be written; an existing one is unchanged
    """
    return write_jsonl(path, map(asdict, rows))


def write_submission(path: Path, rows: Iterable[PredictionRow], *, numbered: Collection[str]) -> None:
    """Write predictions atomically in the form of evaluation servers (QVHighlights).

    The score of a prediction is 1 / rank. Equal predictions are written once, because a model with fewer moments than
    the metrics ask for repeats its first. Qids in ``numbered`` are written as numbers.
    """
    lines = (
        submission(
            int(row.qid) if row.qid in numbered else row.qid,
            row.query,
            row.video,
            [(*span, 1 / rank) for rank, span in enumerate(dict.fromkeys(row.predicted), start=1)],
        )
        for row in rows
    )
    write_jsonl(path, lines)


def submission(qid: str | int, query: str, video: str, windows: Iterable[tuple[float, float, float]]) -> dict[str, Any]:
    """Return a line in the form of evaluation servers (QVHighlights); windows are (start, end, score), best first."""
    return {"qid": qid, "query": query, "vid": video, "pred_relevant_windows": [[*each] for each in windows]}


def write_jsonl(path: Path, objects: Iterable[object]) -> int:
    """Write a JSON object a line, atomically; return their number."""
    count = 0
    with replacing(path) as stream:
        for each in objects:
            stream.write(_encode(each).encode(errors="backslashreplace") + b"\n")  # of a file name that is not UTF-8
            count += 1
    return count


def read_predictions(path: Path) -> Iterator[PredictionRow]:
    """Read a predictions file row by row. Blank lines are skipped and unknown keys ignored.

    Raises:
        DataError: the file cannot be read, or a line is malformed; the message names file and line
    """
    try:
        with path.open("rb") as stream:
            for number, line in enumerate(stream, start=1):
                if line.strip():
                    yield _parse(line, where=f"{path}, line {number}")
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); rerun cpnet.train or cpnet.evaluate") from error


def _parse(line: bytes, *, where: str) -> PredictionRow:
    try:
        row = parse(PredictionRow, json.loads(line))
        if (row.iou is None) is bool(row.true):
            raise ValueError(f"iou must be null if true is empty, and else a number; got {row.iou}")
        numbers = (row.duration, row.iou or 0.0, *chain(*row.true, *row.predicted))
        if not all(map(math.isfinite, numbers)) or row.duration <= 0:
            raise ValueError(f"numbers must be finite and the duration positive; got {shown(numbers)}")
        if row.rarest is not None and not 0 <= row.rarest < 1 << 31:
            raise ValueError(f"rarest must be a number of queries; got {shown(row.rarest)}")
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: {cut(str(error), 400)}") from error
    return row
