"""Spans of further annotators, and failures that people may accept, in hand-made cases."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cpnet.data.moment import Moment
from cpnet.errors import DataError
from cpnet.inspection.observe import Observed
from cpnet.inspection.references import find_failures, read_references

HEAD = "annotator,video,query,start,end\n"
MOMENTS = [
    Moment(qid=f"{n}", video="v_QOlSCBRmfWY", query=query, windows_sec=((0.0, 1.0),), duration_sec=30.0)
    for n, query in enumerate(["she drinks, twice", "he sits"])
]


def observed(iou: float | None, *attention: float) -> Observed:
    return Observed(predicted_sec=(10.0, 20.0), iou=iou, attention=np.array(attention))


def test_spans_find_their_pairs(tmp_path: Path) -> None:
    path = tmp_path / "more.csv"
    lines = (
        'A,QOlSCBRmfWY.mp4," she drinks, twice",7.6,13.9',
        'B,v_QOlSCBRmfWY,"she drinks, twice",1,2',
        "C,x,he sits,1,2",
    )
    path.write_text("\ufeff" + HEAD + "\n".join(lines), encoding="utf-8")
    assert read_references(path, MOMENTS) == ({0: [("A", (7.6, 13.9)), ("B", (1.0, 2.0))]}, 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("video,query,start,end\n", "no column annotator; it needs video, query, start, end, annotator"),
        (HEAD + "A,b,c,2,1\n", "line 2: start and end must be seconds, the start first; got '2' and '1'"),
        (HEAD + "A,b,c,two,3\n", "line 2: .* got 'two' and '3'"),
        (HEAD + "A,b,c,1,inf\n", "line 2: .* got '1' and 'inf'"),
        (HEAD + "A,b\n", "line 2: .* got '' and ''"),
        (HEAD + "A,b,c,1,2\n", "no line has video and query of a pair of the split"),
        (None, "cannot be read as CSV"),
    ],
)
def test_malformed_files_are_refused(tmp_path: Path, text: str | None, message: str) -> None:
    path = tmp_path / "more.csv"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        read_references(path, MOMENTS)


def test_failures_begin_with_those_that_an_annotator_accepts() -> None:
    seen = {
        0: observed(0.1, 0.5, 0.0, 0.5),  # two peaks
        1: observed(0.5, 0.5, 0.0, 0.5),  # no failure
        2: observed(0.4, 0.2, 0.6, 0.2),  # accepted by B
        3: observed(None, 1.0),  # no truth
        4: observed(0.0, 0.1, 0.9),  # neither
        5: observed(0.0),  # accepted by C, more
    }
    found = find_failures(
        seen, {2: [("A", (0.0, 9.0)), ("B", (10.0, 18.0))], 5: [("C", (10.0, 19.0))], 4: [("D", (0.0, 12.0))]}
    )
    assert [(each.row, each.annotator, round(each.agreement, 3), each.peaks, each.accepted) for each in found] == [
        (5, "C", 0.9, 0, True),
        (2, "B", 0.8, 1, True),
        (0, "", 0.0, 2, False),
        (4, "D", 0.1, 1, False),
    ]
