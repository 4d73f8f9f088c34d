"""Oracle: files of a few lines, read by hand."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import astuple
from pathlib import Path
from typing import Any

import pytest

from cpnet.data import readers
from cpnet.data.moment import Moment
from pages import ROOT, blocks

Windows = tuple[tuple[float, float], ...]
Fields = tuple[str, str, str, Windows, float]  # qid, video, query, windows, duration


def read(reader: Callable[..., list[Moment]], folder: Path, content: object, **arguments: Any) -> list[Fields]:
    path = folder / "annotations"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return [astuple(moment)[:5] for moment in reader(annotations=path, **arguments)]


def test_charades_sta(tmp_path: Path) -> None:
    lines = "AAAAA 24.3 30.4##person turn a light on.\n\n00607 9.0 2##  a person ## caf\u00e9\u2028sneezes.  \n"
    (tmp_path / "videos.csv").write_text('id,script,length\nAAAAA,"one, two",30.5\n00607,three,12\nEMPTY,four,\n')
    assert read(readers.read_charades_sta, tmp_path, lines, durations=str(tmp_path / "videos.csv")) == [
        ("AAAAA:1", "AAAAA", "person turn a light on.", ((24.3, 30.4),), 30.5),
        ("00607:3", "00607", "a person ## caf\u00e9\u2028sneezes.", ((9.0, 2.0),), 12.0),
    ]


LINES = "s13-d21.avi_250_500:He takes a board#The person cuts.#\ns13-d21.avi_0_25: He leaves.\n"
SNAG = {
    "train": {"u": {"duration": 9, "annotations": []}},
    "test": {
        "a": {"fps": 25, "num_frames": 500, "annotations": [{"segment": [1.5, 4], "sentence": "x y"}]},
        "b": {"fps": 25, "num_frames": 500, "duration": 19.5},
        "c": {
            "duration": 9,
            "annotations": [{"segment": [1, 2], "sentence": "x"}, {"segment": [2, 3], "sentence": "y"}],
        },
    },
}
FORMS: list[tuple[Any, ...]] = [
    (
        readers.read_activitynet_captions,
        {
            "v_b": {"duration": 10, "timestamps": [[0, 2.5], [9, 3]], "sentences": ["A man runs.", " He st\u00f6ps. "]},
            "00607": {"duration": 4.5, "timestamps": [[0, 9]], "sentences": ["x"]},
        },
        {},
        [
            ("v_b:0", "v_b", "A man runs.", ((0.0, 2.5),), 10.0),
            ("v_b:1", "v_b", "He st\u00f6ps.", ((9.0, 3.0),), 10.0),
            ("00607:0", "00607", "x", ((0.0, 9.0),), 4.5),
        ],
    ),
    *(  # the frame rate of the file comes first
        (
            readers.read_tacos,
            {"s17.avi": entry | {"timestamps": [[50, 75]], "sentences": ["She cuts it. "]}},
            {"fps": fps},
            [("s17.avi:0", "s17.avi", "She cuts it.", ((50 / rate, 75 / rate),), 200 / rate)],
        )
        for entry, fps, rate in (
            ({"duration": 200.0}, 25, 25),
            ({"num_frames": 200, "fps": 50}, 25, 50),
            ({"num_frames": 200, "fps": 50}, None, 50),
            ({"num_frames": 200, "fps": None}, 25, 25),
        )
    ),
    (
        readers.read_activitynet_captions,  # Charades-CD
        {"AO8RW": {"timestamps": [[0, 6.9]], "sentences": ["a person sits."], "video_duration": 33.7}},
        {},
        [("AO8RW:0", "AO8RW", "a person sits.", ((0.0, 6.9),), 33.7)],
    ),
    (
        readers.read_lists,
        [["v_b", 55, [3.5, 9], "A man runs."], [7, 4, [0, 4], " He st\u00f6ps. "]],
        {},
        [("v_b:1", "v_b", "A man runs.", ((3.5, 9.0),), 55.0), ("7:2", "7", "He st\u00f6ps.", ((0.0, 4.0),), 4.0)],
    ),
    (
        readers.read_snag,
        SNAG,
        {"split": "test"},
        [
            ("a:0", "a", "x y", ((1.5, 4.0),), 20.0),
            ("c:0", "c", "x", ((1.0, 2.0),), 9.0),
            ("c:1", "c", "y", ((2.0, 3.0),), 9.0),
        ],
    ),
    (
        readers.read_tacos_text,
        LINES,
        {"fps": 25, "durations": {"s13-d21": 40}},
        [
            ("s13-d21.avi:0", "s13-d21.avi", "He takes a board", ((10.0, 20.0),), 40.0),
            ("s13-d21.avi:1", "s13-d21.avi", "The person cuts.", ((10.0, 20.0),), 40.0),
            ("s13-d21.avi:2", "s13-d21.avi", "He leaves.", ((0.0, 1.0),), 40.0),
        ],
    ),
    (
        readers.read_csv,  # hidden-challenges-MR
        'id,start (sec),end (sec),description,length\nAAAAA,24.3,30.4,"a person sits, then runs.",30.5\n007,1,9,x,12\n',
        {},
        [
            ("AAAAA:1", "AAAAA", "a person sits, then runs.", ((24.3, 30.4),), 30.5),
            ("007:2", "007", "x", ((1.0, 9.0),), 12.0),
        ],
    ),
    (
        readers.read_csv,
        "HITId,video_id,description,start,end\n7K,v_b.mp4, a man runs ,55,81\n",
        {"durations": {"v_b": 100}},
        [("v_b.mp4:1", "v_b.mp4", "a man runs", ((55.0, 81.0),), 100.0)],
    ),
    *(  # the durations of DRN and of VSLNet
        (
            readers.read_charades_sta,
            "3MSZA 24.3 30.4##person turn a light on.",
            {"durations": durations},
            [("3MSZA:1", "3MSZA", "person turn a light on.", ((24.3, 30.4),), 30.5)],
        )
        for durations in ({"3MSZA": 30.5, "W": 4}, {"3MSZA": {"duration": 30.5, "fps": 24.0}})
    ),
]


@pytest.mark.parametrize(("reader", "content", "arguments", "expected"), FORMS)
def test_form_of_a_published_corpus(
    reader: Callable[..., list[Moment]],
    content: object,
    arguments: dict[str, Any],
    expected: list[Fields],
    tmp_path: Path,
) -> None:
    if "durations" in arguments:
        (tmp_path / "durations").write_text(json.dumps(arguments["durations"]))
        arguments = arguments | {"durations": tmp_path / "durations"}
    assert read(reader, tmp_path, content, **arguments) == expected


def test_ego4d_nlq_counts_queries_without_text(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    parts = [
        {
            "annotation_uid": "p",
            "language_queries": [
                {"query": "where?", "clip_start_sec": start, "clip_end_sec": start + 1.5, "video_start_sec": 99},
                {"query": None, "clip_start_sec": 0, "clip_end_sec": 0},
            ],
        }
        for start in (1, 2)
    ]
    clip = {"clip_uid": "c", "video_start_sec": 20, "video_end_sec": 500.5, "annotations": parts}
    content = {"version": "v1", "videos": [{"video_uid": "a", "split": "val", "clips": [clip]}]}
    assert read(readers.read_ego4d_nlq, tmp_path, content) == [
        ("c:0", "c", "where?", ((1.0, 2.5),), 480.5),
        ("c:1", "c", "where?", ((2.0, 3.5),), 480.5),
    ]
    assert "skipped 2 queries without text" in caplog.text


ROW: dict[str, Any] = {"query": " a dog ", "duration": 20, "vid": "00607"}


@pytest.mark.parametrize(
    "write",
    [
        lambda rows: "\n\n".join(map(json.dumps, rows)),
        json.dumps,
        lambda rows: json.dumps({"splits": ["a"], "annotations": rows}, indent=2),
    ],
)
def test_jsonl_reads_all_windows_of_a_row_or_none(write: Callable[[list[Any]], str], tmp_path: Path) -> None:
    one = ROW | {"qid": 7, "relevant_windows": [[1, 2.5]]}
    three = ROW | {"qid": "x", "relevant_windows": [[3, 4], [9, 5], [0, 99]], "saliency_scores": []}
    missing, null = ROW | {"qid": "8"}, ROW | {"qid": "null", "relevant_windows": None}
    assert read(readers.read_jsonl, tmp_path, write([one, three, missing, null])) == [
        ("7", "00607", "a dog", ((1.0, 2.5),), 20.0),
        ("x", "00607", "a dog", ((3.0, 4.0), (9.0, 5.0), (0.0, 99.0)), 20.0),
        ("8", "00607", "a dog", (), 20.0),
        ("null", "00607", "a dog", (), 20.0),
    ]
    assert [each.numbered for each in readers.read_jsonl(annotations=tmp_path / "annotations")] == [
        True,
        False,
        False,
        False,
    ]


def test_page_names_every_reader_and_its_lines_convert(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs/annotations.md").read_text(encoding="utf-8")
    assert set(re.findall(r"cpnet\.data\.readers\.(\w+)", page)) == {*readers.__all__}
    monkeypatch.chdir(tmp_path)
    Path("queries.csv").write_text("video,frames,start_frame,end_frame,sentence\nv1,250,50,75,a dog\n")
    (block,) = blocks("docs/annotations.md", "python")
    exec(block, {})
    (moment,) = readers.read_jsonl(annotations="train.jsonl")
    assert (moment.qid, moment.query, moment.windows_sec, moment.duration_sec) == ("0", "a dog", ((2.0, 3.0),), 10.0)
