"""Files of predictions: each format against the same content, and the messages of malformed ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cpnet.errors import DataError
from cpnet.evaluation.matching import Key
from cpnet.runs.submissions import read_submission, read_times

PAIRS = {"q1": ("v", "he runs"), "q2": ("v", "he waits")}
SPANS = ((5.0, 9.5), (1.0, 2.0))  # of a pair in each file, best first
LINES = {
    "predictions.jsonl": {"qid": "q1", "video": "v", "query": "he runs", "predicted": SPANS, "duration": 10, "iou": 0},
    "windows.jsonl": {"qid": "q1", "vid": "v", "pred_relevant_windows": [[1, 2, 0.1], [5, 9.5, 0.7]]},
    "without_scores.jsonl": {"qid": "q1", "pred_relevant_windows": SPANS},
    "words.jsonl": {"qid": "q1", "answer": "From 5 s to 0:09.5, or 1 - 2."},
}


@pytest.mark.parametrize("name", LINES)
def test_formats_have_the_same_content(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(f"{json.dumps(LINES[name])}\n\n", encoding="utf-8")
    assert read_submission(path, PAIRS).ranked == {"q1": SPANS}
    listed = path.with_suffix(".json")
    listed.write_text(json.dumps([LINES[name]]), encoding="utf-8")
    assert read_submission(listed, PAIRS).ranked == {"q1": SPANS}


@pytest.mark.parametrize(
    ("row", "key"),
    [
        ({"qid": "q1", "vid": "v.mp4"}, "q1"),
        ({"qid": 1, "vid": "v", "query": "he runs"}, ("v", "he runs")),  # numbered in another way
        ({"qid": "q1", "vid": "w", "query": "he runs"}, ("w", "he runs")),
        ({"qid": "q1", "vid": "v", "query": "he waits"}, ("v", "he waits")),  # of pair q2
        ({"qid": "q1", "query": "he waits"}, ("v", "he waits")),
        ({"qid": "q1", "vid": "v", "query": "A man runs."}, "q1"),
        ({"qid": "q1", "vid": "w"}, "q1 of w"),
        ({"qid": "q9"}, "q9"),
        ({"qid": None, "video": "w.mp4", "sentence": " he runs "}, ("w", "he runs")),
    ],
)
def test_qid_counts_for_a_pair_of_the_same_video(row: dict[str, Any], key: Key, tmp_path: Path) -> None:
    path = tmp_path / "made.jsonl"
    path.write_text(json.dumps({**row, "predicted": SPANS}), encoding="utf-8")
    assert read_submission(path, PAIRS).ranked == {key: SPANS}


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("qid,start,end,score\nq1,1,2,0.2\nq2,0,1,1\nq1,5,9.5,0.9\n", "q1"),
        ("video,query,start,end\nv.mp4,he runs,5,9.5\nv.mp4, he runs ,1,2\n", ("v", "he runs")),
    ],
)
def test_rows_of_a_csv_are_ranked_by_score_or_order(text: str, key: str, tmp_path: Path) -> None:
    path = tmp_path / "made.csv"
    path.write_text(text, encoding="utf-8")
    assert read_submission(path, PAIRS).ranked[key] == SPANS


def test_unread_and_repeated_answers_are_named(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    rows = [{"qid": 7, "answer": "3 to 4"}, {"qid": 7, "answer": "5 to 6"}, {"qid": 8, "answer": "I see 3 people."}]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    found = read_submission(path, {})
    assert found.ranked == {"7": ((3.0, 4.0),), "8": ()}
    assert found.remarks("answers") == [
        "answers: 1 answers have no two times: '8'",
        "answers: 1 pairs are answered again and ignored: '7'",
    ]


@pytest.mark.parametrize(
    ("answer", "spans"),
    [
        ("from 12.3 s to 0:20", [(12.3, 20)]),
        ("12.3 - 20", [(12.3, 20)]),
        ("The event takes place from 00:12 to 00:25.", [(12, 25)]),
        ("between 12 and 20 seconds", [(12, 20)]),
        ("[12.3, 15.0]", [(12.3, 15)]),
        ('{"start": 12.3, "end": 15}', [(12.3, 15)]),
        ('{"start":12.3,"end":15}', [(12.3, 15)]),
        ("Answer:12.3 to 20.1", [(12.3, 20.1)]),
        ("start_time:0:05,end_time:0:10", [(5, 10)]),
        ("Start time: 5.0s. End time: 10 s", [(5, 10)]),
        ("starts at 4 seconds and ends at 9 seconds", [(4, 9)]),
        ("from 1 minute 20 seconds to 1 minute 45 seconds", [(80, 105)]),
        ("During 2 minutes and 5 seconds to 130 s", [(125, 130)]),
        ("1:02:03 until 1:02:10", [(3723, 3730)]),
        ("0:05\u20130:07, then 8-9", [(5, 7), (8, 9)]),
        ("from second 5 to second 9", [(5, 9)]),
        ("It begins at about 0:05 and ends at 9 s.", [(5, 9)]),
        ("12.3, 20", [(12.3, 20)]),
        ("In frame 1, 2 people and 3 dogs walk from 4 to 8 s.", [(4, 8)]),
        ("The person is seen 3 times in the video.", []),
        (".5 to 3", []),
        ("123:00 to 124:00", []),
        ("20 % to 40 %", []),
        (f"{'9' * 400} to {'9' * 401}", []),
        ("12 to the end", []),
        ("", []),
    ],
)
def test_times_are_read_out_of_text(answer: str, spans: list[tuple[float, float]]) -> None:
    assert read_times(answer) == spans


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.jsonl", '{"qid": "1", "predicted": [[0, 1]]}\n[1]', r"line 2: no object: \[1\]"),
        ("a.jsonl", '{"predicted": [[0, 1]]}', r"line 1: no qid, nor vid and query"),
        ("a.jsonl", '{"qid": "1"}', r"line 1: 'predicted'"),
        ("a.jsonl", '{"qid": "1", "predicted": [[0, NaN]]}', r"line 1: a time or a score must be a finite number"),
        ("a.jsonl", '{"qid": "1", "predicted": [[0, 1, 2]]}', r"line 1: "),
        ("a.jsonl", '{"qid": "1", "predicted": []}\n{', r"cannot be read \(line 2: "),
        ("a.csv", "qid,begin,end\n1,0,1\n", r"line 2: "),
        ("a.csv", "video,start,end\nv,0,1\n", r"cannot be read \(line 2: no qid"),
        ("a.csv", f"qid,start,end\n{'x' * 200_000},0,1\n", r"cannot be read \(field larger"),
        ("a.csv", "", "is empty"),
        ("absent.jsonl", None, r"cannot be read"),
        ("a.json", "5", r"cannot be read \('int' object is not iterable\)"),
    ],
)
def test_error_names_file_and_line(name: str, text: str | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if text is not None:
        path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=f"{name}.*{message}"):
        read_submission(path, {})
