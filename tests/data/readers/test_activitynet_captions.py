"""Oracle: JSON of a few lines, read by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cpnet.data.moment import DataError, Moment
from cpnet.data.readers import read_activitynet_captions

ENTRY = {"duration": 10, "timestamps": [[0, 2.5], [9, 3]], "sentences": ["A man runs.", "  He st\u00f6ps. "]}


def read(folder: Path, content: object) -> list[Moment]:
    path = folder / "videos.json"
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return read_activitynet_captions(annotations=path)


def test_reads_videos_as_they_are(tmp_path: Path) -> None:
    assert read(tmp_path, {"v_b": ENTRY, "00607": {"duration": 4.5, "timestamps": [[0, 9]], "sentences": ["x"]}}) == [
        Moment(qid="v_b:0", video="v_b", query="A man runs.", start_sec=0.0, end_sec=2.5, duration_sec=10.0),
        Moment(qid="v_b:1", video="v_b", query="He st\u00f6ps.", start_sec=9.0, end_sec=3.0, duration_sec=10.0),
        Moment(qid="00607:0", video="00607", query="x", start_sec=0.0, end_sec=9.0, duration_sec=4.5),
    ]


def test_byte_order_mark_and_crlf_change_nothing(tmp_path: Path) -> None:
    dos = b"\xef\xbb\xbf" + json.dumps({"v": ENTRY}, indent=1).replace("\n", "\r\n").encode()
    assert read(tmp_path, dos) == read(tmp_path, {"v": ENTRY})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"duration": None}, "'duration' must be a finite number, found None"),
        ({"duration": True}, "'duration' must be a finite number, found True"),
        ({"duration": "10"}, "'duration' must be a finite number, found '10'"),
        ({"duration": 0}, "'duration' must be above 0"),
        ({"duration": float("nan")}, "'duration' must be a finite number, found nan"),
        ({"duration": 10**400}, r"'duration' must be a finite number, found 10*\.\.\."),
        ({"timestamps": [[0, 1]]}, "1 timestamps but 2 sentences"),
        ({"timestamps": {"a": 1}}, "'timestamps' must be a list"),
        ({"sentences": "ab"}, "'sentences' must be a list"),
        ({"timestamps": [[0, 1], [1, 2, 3]]}, r"pair 1: a span must be a list \[start, end\], found \[1, 2, 3\]"),
        ({"timestamps": [[0, 1], 4]}, "pair 1: a span must be a list"),
        ({"timestamps": [["0", 1], [0, 1]]}, "pair 0: 'start' must be a finite number, found '0'"),
        ({"timestamps": [[0, 1], [0, float("inf")]]}, "pair 1: 'end' must be a finite number, found inf"),
        ({"timestamps": [[0, 1], [float("nan"), 1]]}, "pair 1: 'start' must be a finite number, found nan"),
        ({"sentences": ["fine", 7]}, "pair 1: 'sentence' must be a string that is not blank, found 7"),
        ({"sentences": [" ", "fine"]}, "pair 0: 'sentence' must be a string that is not blank"),
        ({"sentences": ["fine", "..."]}, r"pair 1: the query '\.\.\.' has no words"),
        ({"sentences": ["fine", "half \ud83d"]}, "pair 1: 'sentence' holds half of a character"),
    ],
)
def test_names_the_video_of_a_malformed_value(tmp_path: Path, change: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=r"videos\.json: video 'v_b'.*" + message):
        read(tmp_path, {"v_a": ENTRY, "v_b": ENTRY | change})


@pytest.mark.parametrize("key", list(ENTRY))
def test_names_a_missing_key(tmp_path: Path, key: str) -> None:
    with pytest.raises(DataError, match=f"video 'v': the key '{key}' is missing, found "):
        read(tmp_path, {"v": {name: value for name, value in ENTRY.items() if name != key}})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"{}", "holds no annotated pair"),
        (b'{"v": {"duration": 1, "timestamps": [], "sentences": []}}', "holds no annotated pair"),
        (b"[]", r"expected a JSON object, found \[\]"),
        (b'{"v": 3}', "video 'v': expected a JSON object, found 3"),
        (b'{" ": {}}', "'video' must be a string that is not blank"),
        (b'{"v": {', "not valid JSON .*line 1 column"),
        (b'{"v": 1, "v": 2}', "the key 'v' appears twice"),
        (b"[" * 100_000, "not valid JSON"),
        (b'{\n"v": "\xff"}', "line 2: byte 7 is not UTF-8"),
    ],
)
def test_names_what_is_wrong_with_a_file(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(DataError, match=r"videos\.json: .*" + message):
        read(tmp_path, content)
