"""Oracle: files of a few lines, read by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import astuple
from pathlib import Path
from typing import Any

import pytest

from cpnet.data.moment import Moment
from cpnet.data.readers import read_activitynet_captions, read_charades_sta, read_jsonl, read_tacos
from cpnet.errors import DataError

Windows = tuple[tuple[float, float], ...]
Fields = tuple[str, str, str, Windows, float]  # qid, video, query, windows, duration


def read(reader: Callable[..., list[Moment]], folder: Path, content: object, **arguments: Any) -> list[Fields]:
    path = folder / "annotations"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return [astuple(moment)[:5] for moment in reader(annotations=path, **arguments)]


def test_charades_sta(tmp_path: Path) -> None:
    lines = "AAAAA 24.3 30.4##person turn a light on.\n\n00607 9.0 2##  a person ## caf\u00e9\u2028sneezes.  \n"
    (tmp_path / "videos.csv").write_text('id,script,length\nAAAAA,"one, two",30.5\n00607,three,12\nEMPTY,four,\n')
    assert read(read_charades_sta, tmp_path, lines, durations=str(tmp_path / "videos.csv")) == [
        ("AAAAA:1", "AAAAA", "person turn a light on.", ((24.3, 30.4),), 30.5),
        ("00607:3", "00607", "a person ## caf\u00e9\u2028sneezes.", ((9.0, 2.0),), 12.0),
    ]


def test_charades_sta_counts_videos_without_duration_and_lists_ten(tmp_path: Path) -> None:
    (tmp_path / "videos.csv").write_text("id,length\nAAAAA,30.5\nEMPTY,\n")
    lines = [f"V{number:02} 0 1##a word\n" for number in range(12)] * 2
    with pytest.raises(DataError, match=r"no duration for 13 videos .* EMPTY, V00, .*, V08; ") as caught:
        read(read_charades_sta, tmp_path, "EMPTY 0 1##a word\n" + "".join(lines), durations=tmp_path / "videos.csv")
    assert "V09" not in str(caught.value)


def test_activitynet_captions(tmp_path: Path) -> None:
    videos = {
        "v_b": {"duration": 10, "timestamps": [[0, 2.5], [9, 3]], "sentences": ["A man runs.", "  He st\u00f6ps. "]},
        "00607": {"duration": 4.5, "timestamps": [[0, 9]], "sentences": ["x"]},
    }
    assert read(read_activitynet_captions, tmp_path, videos) == [
        ("v_b:0", "v_b", "A man runs.", ((0.0, 2.5),), 10.0),
        ("v_b:1", "v_b", "He st\u00f6ps.", ((9.0, 3.0),), 10.0),
        ("00607:0", "00607", "x", ((0.0, 9.0),), 4.5),
    ]


@pytest.mark.parametrize(
    ("entry", "fps", "times"),
    [
        ({"duration": 200.0}, 25, (2.0, 3.0, 8.0)),
        ({"num_frames": 200, "fps": 50}, 25, (1.0, 1.5, 4.0)),
        ({"num_frames": 200, "fps": 50}, None, (1.0, 1.5, 4.0)),
        ({"num_frames": 200, "fps": None}, 25, (2.0, 3.0, 8.0)),
    ],
)
def test_tacos_prefers_the_frame_rate_of_the_file(
    entry: dict[str, Any], fps: float | None, times: tuple[float, float, float], tmp_path: Path
) -> None:
    videos = {"s17-d69.avi": entry | {"timestamps": [[50, 75]], "sentences": ["She cuts it. "]}}
    moments = read(read_tacos, tmp_path, videos, fps=fps)
    assert moments == [("s17-d69.avi:0", "s17-d69.avi", "She cuts it.", (times[:2],), times[2])]


ROW: dict[str, Any] = {"query": " a dog ", "duration": 20, "vid": "00607"}


def test_jsonl_reads_all_windows_of_a_row_or_none(tmp_path: Path) -> None:
    one = ROW | {"qid": 7, "relevant_windows": [[1, 2.5]]}
    three = ROW | {"qid": "x", "relevant_windows": [[3, 4], [9, 5], [0, 99]], "saliency_scores": []}
    missing, null = ROW | {"qid": "8"}, ROW | {"qid": "null", "relevant_windows": None}
    assert read(read_jsonl, tmp_path, "\n\n".join(map(json.dumps, (one, three, missing, null)))) == [
        ("7", "00607", "a dog", ((1.0, 2.5),), 20.0),
        ("x", "00607", "a dog", ((3.0, 4.0), (9.0, 5.0), (0.0, 99.0)), 20.0),
        ("8", "00607", "a dog", (), 20.0),
        ("null", "00607", "a dog", (), 20.0),
    ]
    assert [each.numbered for each in read_jsonl(annotations=tmp_path / "annotations")] == [True, False, False, False]
