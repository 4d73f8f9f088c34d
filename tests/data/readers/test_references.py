"""Tables of files and what they hold, or how they are refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cpnet.data.readers.references import read_references
from cpnet.errors import DataError

HEAD = "video,query,start,end,annotator\n"


@pytest.mark.parametrize(
    "text",
    [
        f"{HEAD}v_QOlSCBRmfWY,he runs,1,2.5,ann\nQOlSCBRmfWY.mp4, he runs ,3,4,bob\nQOlSCBRmfWY,he runs,7,9,ann\n",
        "Annotator_ID,vid,Sentence,START_TIME,end_sec,note\nann,QOlSCBRmfWY,he runs,1,2.5,x\n"
        "bob,QOlSCBRmfWY,he runs,3,4\nann,QOlSCBRmfWY,he runs,7,9\nann,QOlSCBRmfWY,he runs,7,9\n",
    ],
)
def test_spans_are_read_by_pair_and_annotator(text: str, tmp_path: Path) -> None:
    path = tmp_path / "references.csv"
    path.write_text(text)
    found = read_references(path)
    assert found == {("QOlSCBRmfWY", "he runs"): {"ann": [(1.0, 2.5), (7.0, 9.0)], "bob": [(3.0, 4.0)]}}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "the file is empty"),
        (HEAD, "no row; the columns video, query, start, end, annotator and a span a row are needed"),
        ("video,query,begin,end\nv,q,1,2\n", "no column start or start_sec or start_time, no column annotator or"),
        (f"{HEAD}v,he runs,2,1,ann\n", "line 2: the span [2, 1] ends before it starts or is empty; correct it"),
        (f"{HEAD}v,he runs,0:10,0:20,ann\n", "line 2: 'start' must be a number, found '0:10'"),
        (f"{HEAD}v,he runs,0,nan,ann\n", "line 2: 'end' must be a finite number"),
        (f"{HEAD}v,he runs,0,1,\n", "line 2: 'annotator' must be a string that is not blank"),
        (f"{HEAD}v,...,0,1,ann\n", "line 2: the query '...' has no words"),
        (f"{HEAD}v,he runs, then walks,0,1,ann\n", "line 2: more values than columns"),
    ],
)
def test_malformed_file_is_refused(text: str, complaint: str, tmp_path: Path) -> None:
    path = tmp_path / "references.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=re.escape(complaint)):
        read_references(path)
