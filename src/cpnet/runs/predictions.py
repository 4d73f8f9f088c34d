"""predictions.jsonl: one JSON object per pair, from which every metric can be recomputed."""

from __future__ import annotations

import json
import math
import reprlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path

from cpnet.errors import DataError
from cpnet.files import replacing
from cpnet.runs.typed_json import parse

FILE = "predictions.jsonl"

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
        predicted: ranked (start, end) in seconds, best first
        true: (start, end) in seconds
        iou: IoU of the first prediction
    """

    qid: str
    video: str
    query: str
    duration: float
    predicted: tuple[Span, ...]
    true: Span
    iou: float


def write_predictions(path: Path, rows: Iterable[PredictionRow]) -> int:
    """Write a predictions file atomically; return the number of rows.

    Raises:
        OSError: the file cannot be written; an existing one is unchanged
    """
    count = 0
    with replacing(path) as stream:
        for row in rows:
            stream.write(_encode(asdict(row)).encode() + b"\n")
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
        numbers = (row.duration, row.iou, *chain(row.true, *row.predicted))
        if not all(map(math.isfinite, numbers)) or row.duration <= 0:
            raise ValueError(f"numbers must be finite and the duration positive; got {reprlib.repr(numbers)}")
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: {error}") from error
    return row
