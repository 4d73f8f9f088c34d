"""Spans of further annotators, and failures that people may accept, in hand-made cases."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cpnet.data.moment import Moment
from cpnet.errors import DataError
from cpnet.inspection.observe import Observed
from cpnet.inspection.references import find_failures, references_of

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
    assert references_of(path, MOMENTS) == ({0: [("A", (7.6, 13.9)), ("B", (1.0, 2.0))]}, 1)


def test_a_file_of_other_pairs_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "more.csv"
    path.write_text(HEAD + "A,b,c,1,2\n")
    with pytest.raises(DataError, match="no line has video and query of a pair of the split"):
        references_of(path, MOMENTS)


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
