"""Oracle: rows read by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cpnet.data.moment import DataError, Moment
from cpnet.data.readers import read_jsonl

ROW = {"qid": 7, "query": " a dog ", "duration": 20, "vid": "00607", "relevant_windows": [[1, 2.5]]}


def read(folder: Path, *rows: object) -> list[Moment]:
    path = folder / "rows.jsonl"
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows), encoding="utf-8")
    return read_jsonl(annotations=path)


def moment(qid: str, start_sec: float, end_sec: float) -> Moment:
    return Moment(qid=qid, video="00607", query="a dog", start_sec=start_sec, end_sec=end_sec, duration_sec=20.0)


def test_reads_a_moment_a_window(tmp_path: Path) -> None:
    several = ROW | {"qid": "x", "relevant_windows": [[3, 4], [9, 5], [0, 99]], "saliency_scores": []}
    assert read(tmp_path, ROW, "", several) == [
        moment("7", 1.0, 2.5),
        moment("x:0", 3.0, 4.0),
        moment("x:1", 9.0, 5.0),
        moment("x:2", 0.0, 99.0),
    ]


def test_byte_order_mark_and_crlf_change_nothing(tmp_path: Path) -> None:
    path = tmp_path / "dos.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(ROW).encode() + b"\r\n\r\n")
    assert read_jsonl(annotations=path) == [moment("7", 1.0, 2.5)]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{", "not valid JSON"),
        ("[1]", "expected a JSON object"),
        (ROW, "the qid '7' is on line 1 too"),
        (ROW | {"qid": "7"}, "the qid '7' is on line 1 too"),
        (ROW | {"qid": True}, "'qid' must be a string"),
        (ROW | {"qid": ""}, "'qid' must be a string that is not blank"),
        (ROW | {"qid": 8, "vid": 607}, "'vid' must be a string that is not blank, found 607"),
        (ROW | {"qid": 8, "query": "-"}, "the query '-' has no words"),
        (ROW | {"qid": 8, "duration": -2}, "'duration' must be above 0"),
        (ROW | {"qid": 8, "relevant_windows": []}, "'relevant_windows' is empty"),
        (ROW | {"qid": 8, "relevant_windows": [1, 2]}, r"a span must be a list \[start, end\], found 1"),
        (ROW | {"qid": 8, "relevant_windows": [[1, None]]}, "'end' must be a finite number, found None"),
        ('{"qid": 8, "relevant_windows": [[1, NaN]]}', "'end' must be a finite number, found nan"),
    ],
)
def test_names_the_line_of_a_malformed_row(tmp_path: Path, row: object, message: str) -> None:
    with pytest.raises(DataError, match=r"rows\.jsonl: line 2: " + message):
        read(tmp_path, ROW, row)


def test_a_numbered_window_may_not_take_the_name_of_another_row(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="line 2: the qid 'x:1' is on line 1 too"):
        read(tmp_path, ROW | {"qid": "x:1"}, ROW | {"qid": "x", "relevant_windows": [[3, 4], [4, 5]]})


@pytest.mark.parametrize("key", list(ROW))
def test_names_a_missing_key(tmp_path: Path, key: str) -> None:
    with pytest.raises(DataError, match=f"line 1: the key '{key}' is missing"):
        read(tmp_path, {name: value for name, value in ROW.items() if name != key})
