"""Rows survive a round trip unchanged; a malformed file is refused with its line number."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpnet.errors import DataError
from cpnet.runs.predictions import PredictionRow, read_predictions, write_jsonl, write_predictions

NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
SPANS = st.tuples(NUMBERS, NUMBERS)
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
ROWS = st.builds(
    PredictionRow,
    qid=TEXT,
    video=TEXT,
    query=TEXT,
    duration=st.floats(1e-3, 1e6),
    predicted=st.lists(SPANS, min_size=1, max_size=3).map(tuple),
    true=st.lists(SPANS, min_size=1, max_size=3).map(tuple),
    iou=st.floats(0, 1),
    rarest=st.none() | st.integers(0, 100),
)


def row(**changes: Any) -> dict[str, Any]:
    content = {"qid": "q", "video": "v", "query": "a “café” opens", "duration": 10, "iou": 0.5}
    return content | {"predicted": [[0, 5.0], [1, 2]], "true": [[0, 10]]} | changes


def file_of(folder: Path, *lines: object) -> Path:
    path = folder / "predictions.jsonl"
    texts = (line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines)
    path.write_bytes(b"".join(text + b"\n" for text in texts))
    return path


def test_number_that_json_lacks_is_not_written(tmp_path: Path) -> None:
    (good,) = read_predictions(file_of(tmp_path, row()))
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_predictions(tmp_path / "new.jsonl", [good, replace(good, iou=float("nan"))])
    assert not (tmp_path / "new.jsonl").exists()


@given(rows=st.lists(ROWS, max_size=4))
def test_rows_survive_round_trip(rows: list[PredictionRow], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("rows") / "predictions.jsonl"
    assert write_predictions(path, rows) == len(rows)
    assert list(read_predictions(path)) == rows


def test_file_is_readable_json(tmp_path: Path) -> None:
    path = file_of(tmp_path, row(), b"", row(extra=1))
    (first, second) = read_predictions(path)
    assert first == second
    assert (first.duration, first.predicted, first.true) == (10.0, ((0.0, 5.0), (1.0, 2.0)), ((0.0, 10.0),))
    write_predictions(path, [first])
    assert json.loads(path.read_text(encoding="utf-8")) == row(rarest=None)
    assert "“café”" in path.read_text(encoding="utf-8")


def test_file_name_that_is_not_utf8_is_written(tmp_path: Path) -> None:
    line = {"vid": os.fsdecode(b"caf\xe9")}
    write_jsonl(tmp_path / "a.jsonl", [line])
    assert json.loads((tmp_path / "a.jsonl").read_text(encoding="utf-8")) == line


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"predictions\.jsonl cannot be read \(No such file"):
        next(read_predictions(tmp_path / "predictions.jsonl"))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"\xff\xfe{}", "decode"),
        (b"{", "Expecting"),
        (b"[" * 100_000, "recursion"),
        (b'{"qid": ' + b"9" * 5000 + b"}", "digits"),
        ([row()], "the file must be an object"),
        ({key: value for key, value in row().items() if key != "true"}, "it has no true"),
        (row(duration=0), "numbers must be finite and the duration positive"),
        (row(iou=float("nan")), "numbers must be finite"),
        (row(true=[[0, float("inf")]]), "numbers must be finite"),
        (row(true=[[0, 1, 2]]), "true must be 2 values"),
        (row(true=[]), "iou must be null if true is empty"),
        (row(iou=None), "iou must be null if true is empty"),
        (row(true="01"), "true must be a list of values"),
        (row(predicted=[0, 1]), "predicted must be 2 values; got 0"),
        (row(predicted={"0": [0, 1]}), "predicted must be a list"),
        (row(predicted=[[0, None]]), "predicted must be a number; got None"),
    ],
)
def test_malformed_line_is_refused_with_its_number(line: object, message: str, tmp_path: Path) -> None:
    path = file_of(tmp_path, row(), line)
    rows = read_predictions(path)
    next(rows)
    with pytest.raises(DataError, match=rf"predictions\.jsonl, line 2: .*{message}") as caught:
        next(rows)
    assert len(str(caught.value)) < len(str(path)) + 300
