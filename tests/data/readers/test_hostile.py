"""Hostile annotation files, the same for every reader, by hand and drawn.

Oracle: the tables say what is wrong in each file and where, and of files that are no more than unusual what they hold.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import logging
import math
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cpnet.data.annotations import Annotations
from cpnet.data.cleaning import clean
from cpnet.data.features import check_coverage, open_features
from cpnet.data.moment import DataError, Moment
from cpnet.data.readers import read_activitynet_captions, read_charades_sta, read_jsonl, read_tacos
from cpnet.data.readers.checks import as_number
from cpnet.data.vocabulary import Vocabulary

BOM = codecs.BOM_UTF8
FPS = 25
Files = Mapping[str, bytes]  # content by argument of the reader

READERS: dict[str, Callable[..., list[Moment]]] = {
    "charades_sta": read_charades_sta,
    "activitynet_captions": read_activitynet_captions,
    "tacos": read_tacos,
    "jsonl": read_jsonl,
}
NAMES = {
    "charades_sta": {"annotations": "pairs.txt", "durations": "videos.csv"},
    "activitynet_captions": {"annotations": "videos.json"},
    "tacos": {"annotations": "videos.json"},
    "jsonl": {"annotations": "rows.jsonl"},
}
every_reader = pytest.mark.parametrize("reader", list(READERS))
# Every message ends in what to do next.
INSTRUCTION = re.compile(r"; ((correct|download|check|set|add|keep|save|remove|give|make|quote) .+|is this .+\?)$")


class Pair(NamedTuple):
    video: str
    start_sec: float
    end_sec: float
    duration_sec: float = 10
    query: str = "a word"


def encode(reader: str, pairs: Sequence[Pair]) -> dict[str, bytes]:
    """The pairs as the reader's format has them; qids of jsonl are q0, q1, ..."""
    if reader == "charades_sta":
        table = io.StringIO()
        csv.writer(table).writerows(
            [("id", "length"), *dict.fromkeys((pair.video, pair.duration_sec) for pair in pairs)]
        )
        lines = "".join(f"{pair.video} {pair.start_sec} {pair.end_sec}##{pair.query}\n" for pair in pairs)
        return {"annotations": lines.encode(), "durations": table.getvalue().encode()}
    if reader == "jsonl":
        rows = [
            {
                "qid": f"q{number}",
                "query": pair.query,
                "duration": pair.duration_sec,
                "vid": pair.video,
                "relevant_windows": [[pair.start_sec, pair.end_sec]],
            }
            for number, pair in enumerate(pairs)
        ]
        return {"annotations": "".join(json.dumps(row) + "\n" for row in rows).encode()}
    scale = FPS if reader == "tacos" else 1
    entries: dict[str, dict[str, Any]] = {}
    for pair in pairs:
        entry = entries.setdefault(
            pair.video, {"duration": pair.duration_sec * scale, "timestamps": [], "sentences": []}
        )
        entry["timestamps"].append([pair.start_sec * scale, pair.end_sec * scale])
        entry["sentences"].append(pair.query)
        if reader == "tacos":
            entry["fps"] = FPS
    return {"annotations": json.dumps(entries, indent=1).encode()}


def write(reader: str, folder: Path, files: Files) -> dict[str, Path]:
    folder.mkdir(exist_ok=True)
    paths = {argument: folder / name for argument, name in NAMES[reader].items()}
    for argument, path in paths.items():
        path.write_bytes(files[argument])
    return paths


def read(reader: str, folder: Path, files: Files) -> list[Moment]:
    return READERS[reader](**write(reader, folder, files))


def as_pairs(moments: Sequence[Moment]) -> list[Pair]:
    return [Pair(each.video, each.start_sec, each.end_sec, each.duration_sec, each.query) for each in moments]


def refusal(reader: str, folder: Path, files: Files) -> str:
    """Message of the reader's error, which ends in an instruction."""
    with pytest.raises(DataError) as caught:
        read(reader, folder, files)
    message = str(caught.value)
    assert INSTRUCTION.search(message), message
    return message


# What is wrong in files: its name, the content of the file at fault, the place in it, the complaint.
Row = tuple[str, str | bytes, str, str]

WHOLE_FILES: list[Row] = [
    ("an empty file", b"", "", "the file is empty"),
    ("white space alone", b" \r\n\t\r", "", "the file is empty"),
    ("a byte-order mark alone", BOM + b"\n", "", "the file is empty"),
    ("UTF-16", "a word".encode("utf-16"), "line 1: ", "byte 1 is not UTF-8"),
    ("Latin-1", b"\n\ncaf\xe9", "line 3: ", "byte 4 is not UTF-8"),
    ("Latin-1 after CRLF", b"\r\n\r\ncaf\xe9", "line 3: ", "byte 4 is not UTF-8"),
    ("Latin-1 after CR", BOM + b"\r\rcaf\xe9", "line 3: ", "byte 4 is not UTF-8"),
    ("a surrogate as UTF-8", b"\n\xed\xa0\x80", "line 2: ", "byte 1 is not UTF-8"),
    ("a picture", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "line 1: ", "byte 1 is not UTF-8"),
]

CHARADES_LINE = "expected 'VIDEO START END##QUERY'"
CHARADES_PAIRS: list[Row] = [
    *WHOLE_FILES,
    ("a missing end", "v 1 2##fine\nv 1##a word", "line 2: ", CHARADES_LINE),
    ("a missing video", "v 1 2##fine\n1 2##a word", "line 2: ", CHARADES_LINE),
    ("a missing query", "v 1 2##fine\nv 1 2", "line 2: ", CHARADES_LINE),
    ("one time too many", "v 1 2##fine\nv 1 2 3##a word", "line 2: ", CHARADES_LINE),
    ("a time of letters", "v 1 2##fine\r\nv 1 two##a word", "line 2: ", "'end' must be a number, found 'two'"),
    ("a time with a digit separator", "v 1 1_5##a word", "line 1: ", "'end' must be a number, found '1_5'"),
    ("a time with a comma", "v 1,5 2##a word", "line 1: ", "'start' must be a number, found '1,5'"),
    ("a time that is not finite", "v nan 2##a word", "line 1: ", "'start' must be a finite number, found nan"),
    ("a time beyond floats", "v 1 1e999##a word", "line 1: ", "'end' must be a finite number, found inf"),
    ("a blank query", "v 1 2##fine\rv 1 2## ", "line 2: ", "'query' must be a string that is not blank"),
    ("a query with no words", "v 1 2##fine\nv 1 2##?!", "line 2: ", "the query '?!' has no words"),
    ("a byte-order mark amid the file", "v 1 2##fine\n\ufeffv 1 2##a word", "", "'\\ufeffv'"),
    ("another format", '{"v": 3}', "line 1: ", CHARADES_LINE),
]
CHARADES_DURATIONS: list[Row] = [
    *WHOLE_FILES,
    ("a missing column", "id,duration\nv,3", "", "the columns 'id' and 'length' are needed, found ['id', 'duration']"),
    ("another format", '{"v": 3}', "", "the columns 'id' and 'length' are needed"),
    ("a duration of 0", "id,length\nu,3\nv,0", "line 3: ", "'length' must be above 0, found 0"),
    ("a negative duration", "id,length\nv,-2", "line 2: ", "'length' must be above 0, found -2"),
    ("a duration of letters", "id,length\nv,long", "line 2: ", "'length' must be a number, found 'long'"),
    ("a duration with a digit separator", "id,length\nv,3_0", "line 2: ", "'length' must be a number, found '3_0'"),
    ("a duration that is not finite", "id,length\nv,nan", "line 2: ", "'length' must be a finite number, found nan"),
    ("a video that is not there", "id,length\nu,3", "", "no duration for 1 videos of "),
    ("a video without a duration", "id,length\nv,\nu,3", "", "no duration for 1 videos of "),
    ("a row that ends early", "length,id\n3", "", "no duration for 1 videos of "),
    ("two durations", "id,length\nv,3\r\nv,4", "line 3: ", "a second length for v, 3.0 before"),
    ("a comma outside quotes", "id,script,length\nv,first, 2,30", "line 2: ", "more values than columns"),
    ("a quote that nobody closes", 'id,script,length\nv,"one,3\nu,two,4\n', "line 3: ", "not valid csv"),
    ("a value without end", "id,length\nv," + "9" * 200_000, "line 2: ", "not valid csv"),
]


def without(entry: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in entry.items() if name != key}


def broken_videos(length: str, entry: dict[str, Any]) -> list[Row]:
    """What can be wrong in ``{video: {.., timestamps, sentences}}``; the entry is sound and has two pairs."""

    def second(**change: object) -> str:
        return json.dumps({"u": entry, "v": entry | change})

    video, whole = "video 'v': ", json.dumps({"u": entry, "v": entry})
    return [
        *WHOLE_FILES,
        ("no timestamps", json.dumps({"v": without(entry, "timestamps")}), video, "the key 'timestamps' is missing"),
        ("no sentences", json.dumps({"v": without(entry, "sentences")}), video, "the key 'sentences' is missing"),
        ("an empty object", "{}", "", "the file holds no annotated pair"),
        ("no pair", '{"v": ' + json.dumps(entry | {"timestamps": [], "sentences": []}) + "}", "", "no annotated pair"),
        ("a list", "[]", "", "expected a JSON object, found []"),
        ("a number", "3", "", "expected a JSON object, found 3"),
        ("a video of null", '{"v": null}', video, "expected a JSON object, found None"),
        ("a blank id", json.dumps({" ": entry}), "video ' ': ", "'video' must be a string that is not blank"),
        ("half of a character in an id", json.dumps({"\ud83d": entry}), "video '\\ud83d': ", "half of a character"),
        ("the same id twice", '{"v": 1,\n"v": 2}', "", "the key 'v' appears twice in one object, with 1 and 2"),
        (
            "the same key twice",
            '{"v": {"fps": 25, "fps": 30}}',
            "",
            "the key 'fps' appears twice in one object, with 25",
        ),
        ("a file cut short", whole[:-9], "", "not valid JSON"),
        ("two files in one", whole + whole, "", "not valid JSON"),
        ("a byte-order mark amid the file", "\n\ufeff" + whole, "", "not valid JSON"),
        ("levels without end", '{"v":' * 100_000, "", "not valid JSON"),
        ("a number without end", '{"v": ' + "1" * 10_000 + "}", "", "JSON"),
        ("a duration of 0", second(**{length: 0}), video, "'duration' must be above 0, found 0"),
        ("a negative duration", second(**{length: -0.5}), video, "'duration' must be above 0, found -0.5"),
        ("a duration of null", second(**{length: None}), video, "'duration' must be a finite number, found None"),
        ("a duration of true", second(**{length: True}), video, "'duration' must be a finite number, found True"),
        ("a duration of letters", second(**{length: "9"}), video, "'duration' must be a finite number, found '9'"),
        ("a duration that is not finite", second(**{length: math.nan}), video, "must be a finite number, found nan"),
        ("a duration beyond floats", second(**{length: 10**400}), video, "must be a finite number, found 1000"),
        ("one sentence too few", second(sentences=["one word"]), video, "2 timestamps but 1 sentences"),
        ("one timestamp too few", second(timestamps=[[1, 2]]), video, "1 timestamps but 2 sentences"),
        ("timestamps of null", second(timestamps=None), video, "'timestamps' must be a list, found None"),
        ("sentences of letters", second(sentences="ab"), video, "'sentences' must be a list, found 'ab'"),
        ("three times", second(timestamps=[[1, 2], [1, 2, 3]]), "video 'v', pair 1: ", "a list [start, end], found [1"),
        ("no list of times", second(timestamps=[7, [1, 2]]), "video 'v', pair 0: ", "a list [start, end], found 7"),
        ("a time of letters", second(timestamps=[[1, 2], [1, "2"]]), "video 'v', pair 1: ", "'end' must be a finite"),
        ("a time not finite", second(timestamps=[[-math.inf, 2], [1, 2]]), "video 'v', pair 0: ", "found -inf"),
        ("a blank query", second(sentences=["fine", "\t"]), "video 'v', pair 1: ", "'sentence' must be a string that"),
        (
            "a query of null",
            second(sentences=[None, "fine"]),
            "video 'v', pair 0: ",
            "'sentence' must be a string that",
        ),
        ("a query with no words", second(sentences=["fine", "..."]), "video 'v', pair 1: ", "'...' has no words"),
        ("half of a character", second(sentences=["fine", "a \udc00"]), "video 'v', pair 1: ", "half of a character"),
    ]


SECONDS: dict[str, Any] = {"duration": 10, "timestamps": [[1, 2], [3, 4]], "sentences": ["one word", "two words"]}
FRAMES: dict[str, Any] = SECONDS | {"num_frames": 250, "fps": FPS}
BROKEN_TACOS: list[Row] = [
    *broken_videos("num_frames", FRAMES),
    ("no length", json.dumps({"v": without(SECONDS, "duration") | {"fps": 9}}), "video 'v': ", "'duration' is missing"),
    ("no rate", json.dumps({"v": SECONDS}), "video 'v': ", "no frame rate in the file"),
    ("a rate of null", json.dumps({"v": FRAMES | {"fps": None}}), "video 'v': ", "no frame rate in the file"),
    ("a rate of 0", json.dumps({"v": FRAMES | {"fps": 0}}), "video 'v': ", "'fps' must be above 0, found 0"),
    ("a rate of letters", json.dumps({"v": FRAMES | {"fps": "25"}}), "video 'v': ", "'fps' must be a finite number"),
    (
        "a rate that makes the times infinite",
        json.dumps({"v": FRAMES | {"fps": 1e-3, "timestamps": [[0, 1], [2, 1e306]]}}),
        "video 'v', pair 1: ",
        "'end' must be a finite number, found inf",
    ),
    (
        "a rate that makes the duration 0",
        json.dumps({"v": FRAMES | {"num_frames": 5e-324}}),
        "video 'v': ",
        "'duration' must be above 0, found 0.0",
    ),
]
BROKEN_ACTIVITYNET: list[Row] = [
    *broken_videos("duration", SECONDS),
    (
        "no duration",
        json.dumps({"v": without(SECONDS, "duration")}),
        "video 'v': ",
        "the key 'duration' is missing, found 'timestamps', 'sentences'",
    ),
]

FINE_ROW: dict[str, Any] = {"qid": 7, "query": "a dog", "duration": 20, "vid": "00607", "relevant_windows": [[1, 2]]}


def broken_rows() -> list[Row]:
    def second(**change: object) -> str:
        return json.dumps(FINE_ROW) + "\n" + json.dumps(FINE_ROW | {"qid": 8} | change)

    line = "line 2: "
    return [
        *WHOLE_FILES,
        *(
            (f"no {key}", json.dumps(without(FINE_ROW, key)), "line 1: ", f"the key '{key}' is missing")
            for key in FINE_ROW
        ),
        ("an empty object", json.dumps(FINE_ROW) + "\n{}", line, "the key 'qid' is missing, found no keys"),
        ("a list", json.dumps(FINE_ROW) + "\r\n[]", line, "expected a JSON object, found []"),
        ("a file cut short", second()[:-9], line, "not valid JSON"),
        ("two rows on a line", json.dumps(FINE_ROW) * 2, "line 1: ", "not valid JSON"),
        ("a row on two lines", json.dumps(FINE_ROW).replace(",", ",\n", 1), "line 1: ", "not valid JSON"),
        ("a byte-order mark amid the file", second().replace("\n", "\n\ufeff"), line, "not valid JSON"),
        ("levels without end", json.dumps(FINE_ROW) + "\r" + "[" * 100_000, line, "not valid JSON"),
        ("the same qid twice", second(qid=7), line, "the qid '7' is on line 1 too"),
        ("the same qid as text", second(qid="7"), line, "the qid '7' is on line 1 too"),
        ("the same key twice", '{"qid": 8, "qid": 9}', "line 1: ", "the key 'qid' appears twice in one object, with 8"),
        ("a qid of null", second(qid=None), line, "'qid' must be a string that is not blank, found None"),
        ("a qid of 1.0", second(qid=1.0), line, "'qid' must be a string that is not blank, found 1.0"),
        ("a video of numbers", second(vid=607), line, "'vid' must be a string that is not blank, found 607"),
        ("a blank id", second(vid=""), line, "'vid' must be a string that is not blank, found ''"),
        ("a duration of 0", second(duration=0.0), line, "'duration' must be above 0, found 0.0"),
        ("a negative duration", second(duration=-3), line, "'duration' must be above 0, found -3"),
        ("a duration of letters", second(duration="20"), line, "'duration' must be a finite number, found '20'"),
        ("a duration not finite", second(duration=math.inf), line, "'duration' must be a finite number, found inf"),
        ("no window", second(relevant_windows=[]), line, "'relevant_windows' is empty"),
        ("windows of null", second(relevant_windows=None), line, "'relevant_windows' must be a list, found None"),
        ("a window, not a list of them", second(relevant_windows=[1, 2]), line, "a list [start, end], found 1"),
        ("three times", second(relevant_windows=[[1, 2], [1, 2, 3]]), line, "a list [start, end], found [1, 2, 3]"),
        ("a time of null", second(relevant_windows=[[None, 2]]), line, "'start' must be a finite number, found None"),
        ("a blank query", second(query="\u3000"), line, "'query' must be a string that is not blank"),
        ("a query of numbers", second(query=5), line, "'query' must be a string that is not blank, found 5"),
        ("a query with no words", second(query="?"), line, "the query '?' has no words"),
        ("half of a character", second(query="a \udc00"), line, "'query' holds half of a character"),
    ]


def hostile() -> list[Any]:
    """Parameters: reader, argument that names the file at fault, files, place, complaint."""
    parameters = []
    charades = {"annotations": b"v 1 2##a word\n", "durations": b"id,length\nv,10\n"}
    tables = (
        ("charades_sta", "annotations", CHARADES_PAIRS),
        ("charades_sta", "durations", CHARADES_DURATIONS),
        ("activitynet_captions", "annotations", BROKEN_ACTIVITYNET),
        ("tacos", "annotations", BROKEN_TACOS),
        ("jsonl", "annotations", broken_rows()),
    )
    for reader, argument, table in tables:
        for name, content, place, complaint in table:
            files = charades | {argument: content.encode() if isinstance(content, str) else content}
            parameters.append(pytest.param(reader, argument, files, place, complaint, id=f"{reader}-{argument}-{name}"))
    return parameters


@pytest.mark.parametrize(("reader", "argument", "files", "place", "complaint"), hostile())
def test_names_file_place_defect_and_remedy(
    reader: str, argument: str, files: Files, place: str, complaint: str, tmp_path: Path
) -> None:
    message = refusal(reader, tmp_path, files)
    assert NAMES[reader][argument] in message
    assert place in message
    assert complaint in message


@every_reader
def test_names_a_path_that_cannot_be_read(reader: str, tmp_path: Path) -> None:
    paths = write(reader, tmp_path, encode(reader, [Pair("v", 1, 2)]))
    for argument in paths:
        for path in (tmp_path / "nowhere", tmp_path, "null\0character", "~no-such-user-of-this-machine/file"):
            with pytest.raises(DataError, match=r" cannot be read \(.+\); check the path in the dataset's") as caught:
                READERS[reader](**paths | {argument: path})
            assert str(caught.value).startswith(str(path))


@every_reader
def test_a_path_may_begin_at_home(reader: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    write(reader, tmp_path, encode(reader, [Pair("v", 1, 2)]))
    paths = {argument: f"~/{name}" for argument, name in NAMES[reader].items()}
    assert as_pairs(READERS[reader](**paths)) == [Pair("v", 1, 2)]


def test_a_repeated_key_of_a_large_file_is_found_at_once(tmp_path: Path) -> None:
    keys = "".join(f'"v{number}": 0,' for number in range(200_000))
    files = {"annotations": ("{" + keys + '"v199999": 1}').encode()}
    # Within the timeout of a test, which a look at every pair of keys would exceed many times.
    assert "the key 'v199999' appears twice" in refusal("activitynet_captions", tmp_path, files)


def test_a_value_too_deep_to_be_shown_is_refused_all_the_same() -> None:
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(DataError, match="a file: 'start' must be a finite number, found a list of very many levels;"):
        as_number(value, "start", "a file")


def test_a_null_rate_in_the_file_leaves_the_one_of_the_config(tmp_path: Path) -> None:
    path = write("tacos", tmp_path, {"annotations": json.dumps({"v": FRAMES | {"fps": None}}).encode()})
    assert [each.duration_sec for each in read_tacos(**path, fps=50)] == [5.0, 5.0]


PAIRS = [
    Pair("00607", 1, 2.5, 10, "A man runs."),
    Pair("00607", 3, 4, 10, "caf\u00e9\u2028\x85 \u4eba \U0001f600 it's \x1c fine"),
    Pair("v", 0, 8, 8, "nul \0 and ## more"),
]


@every_reader
@pytest.mark.parametrize("bom", [b"", BOM])
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r", b"\r\r\n"])
def test_byte_order_mark_and_line_ends_change_nothing(bom: bytes, line_end: bytes, reader: str, tmp_path: Path) -> None:
    files = {name: bom + _with(line_end, content) for name, content in encode(reader, PAIRS).items()}
    assert as_pairs(read(reader, tmp_path, files)) == PAIRS


def _with(line_end: bytes, content: bytes) -> bytes:
    return content.replace(b"\r\n", b"\n").replace(b"\n", line_end)


@every_reader
def test_the_end_of_the_last_line_may_lack(reader: str, tmp_path: Path) -> None:
    files = {name: content.rstrip() for name, content in encode(reader, PAIRS).items()}
    assert as_pairs(read(reader, tmp_path, files)) == PAIRS


BEFORE_QID = {"charades_sta": "v:2", "activitynet_captions": "v:1", "tacos": "v:1", "jsonl": "q1"}


@every_reader
def test_negative_times_are_clipped_and_counted(reader: str, tmp_path: Path) -> None:
    pairs = [Pair("v", -3, 4), Pair("v", -5, -1), Pair("v", 2, 5)]
    moments = read(reader, tmp_path, encode(reader, pairs))
    assert as_pairs(moments) == pairs
    kept, report = clean(moments, split="train", training=True)
    assert as_pairs(kept) == [Pair("v", 0, 4), pairs[2]]
    assert (report.read, report.clipped_start, report.clipped_end, report.kept) == (3, 2, 1, 2)
    assert report.dropped == ((BEFORE_QID[reader], "empty"),)
    with pytest.raises(DataError, match=rf"test: 1 pairs .*{BEFORE_QID[reader]} \(empty: -5\.00 .*on_defect=drop"):
        clean(moments, split="test", training=False)
    assert as_pairs(clean([moments[0]], split="test", training=False)[0]) == [Pair("v", 0, 4)]


PATHS = ["../../x", "/etc/passwd", "..", "~", "a/../b", "C:\\x", "a\0b", "%2e%2e", "$HOME", "-rf", "NUL", "\x1b[2J"]


@every_reader
@pytest.mark.parametrize("video", PATHS)
def test_an_id_that_is_a_path_stays_a_string(video: str, reader: str, tmp_path: Path) -> None:
    files = encode(reader, [Pair("v", 1, 2), Pair(video, 3, 4)])
    if reader == "charades_sta" and "\0" in video and sys.version_info < (3, 11):
        assert "videos.csv: line 3: not valid csv" in refusal(reader, tmp_path, files)  # as csv was then
        return
    moments = read(reader, tmp_path, files)
    assert as_pairs(moments) == [Pair("v", 1, 2), Pair(video, 3, 4)]
    assert clean(moments, split="test", training=False)[0] == moments


def test_an_id_with_what_cannot_be_seen_is_shown(tmp_path: Path) -> None:
    files = {"annotations": "\u200bv 1 2##a word".encode(), "durations": b"id,length\nv,10"}
    assert "the first ones '\\u200bv'; is this" in refusal("charades_sta", tmp_path, files)


def test_nothing_is_read_from_an_id_that_is_a_path(tmp_path: Path) -> None:
    folder = tmp_path / "packs" / "features"
    folder.mkdir(parents=True)
    outside = np.ones((2, 3), np.float32)
    for place in (tmp_path / "x.npy", folder / "v.npy", folder.parent / "features.npy"):
        np.save(place, outside)
    source = open_features(path=folder)
    assert (folder / "../../x.npy").exists()
    foreign = [*PATHS, str(tmp_path / "x"), "../features", "./v", "../features/v", "v.npy", ""]
    assert source.missing([*foreign, "v"]) == foreign
    for video in foreign:
        for look in (source.rows, source.length):
            with pytest.raises(DataError, match=re.escape(f"no features of video {video!r} ") + ".*; set dataset"):
                look(video)
    with pytest.raises(DataError, match=r"1 of 2 videos of split test have no features in .*: '\.\./\.\./x' "):
        check_coverage(source, split="test", videos=["v", "../../x"])


SPELLINGS = {
    "charades_sta": ("3MSZA", "3MSZA.mp4"),
    "activitynet_captions": ("v_QOlSCBRmfWY", "QOlSCBRmfWY"),
    "tacos": ("s30-d52.avi", "s30-d52"),
    "jsonl": ("s30-d52-cam-002", "s30-d52.avi"),
}


def corpus(reader: str, folder: Path, train: list[Pair], test: list[Pair]) -> Annotations:
    return Annotations(
        reader=READERS[reader],
        splits={
            split: {name: str(path) for name, path in write(reader, folder / split, encode(reader, pairs)).items()}
            for split, pairs in {"train": train, "test": test}.items()
        },
        holdout_fraction=0.5,
    )


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


@every_reader
def test_two_spellings_are_one_video(reader: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first, second = SPELLINGS[reader]
    pairs = [Pair(first, 1, 2), Pair("other", 1, 2), Pair(second, 3, 4)]
    moments, _ = corpus(reader, tmp_path, pairs, pairs).read()
    # Both spellings fall on one side of the split of videos, and no pair is lost.
    assert sorted(len(moments[split]) for split in ("train", "val")) == [1, 2]
    assert sorted(as_pairs(moments["test"])) == sorted(pairs)
    assert len({each.qid for each in moments["test"]}) == 3
    assert warnings_of(caplog) == []
    (tmp_path / "features").mkdir()
    np.save(tmp_path / "features" / f"{second}.npy", np.ones((2, 3), np.float32))
    source = open_features(path=tmp_path / "features")
    assert source.missing([first, second, "other"]) == ["other"]
    assert source.length(first) == source.length(second) == 2


@every_reader
@pytest.mark.parametrize("split", ["train", "test"])
def test_durations_of_one_video_that_differ_are_counted_in_a_warning(
    split: str, reader: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = SPELLINGS[reader]
    train, odd = [Pair(first, 1, 2), Pair("other", 1, 2)], Pair(second, 3, 4, duration_sec=20)
    files = {"train": train, "test": [Pair("third", 1, 2)]}
    files[split] = [*files[split], odd]
    moments, _ = corpus(reader, tmp_path, files["train"], files["test"]).read()
    assert odd in as_pairs([each for kept in moments.values() for each in kept])
    (warning,) = warnings_of(caplog)
    shared = {"charades_sta": "3MSZA", "activitynet_captions": "QOlSCBRmfWY"}.get(reader, "s30-d52")
    assert f"1 of 3 videos have more than one: '{shared}' of 10.0 to 20.0 s; " in warning
    assert "correct the wrong ones in the annotations" in warning


def test_the_warning_of_durations_names_ten_and_counts_the_rest(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pairs = [Pair(f"v{number:02}", 1, 2, duration) for number in range(12) for duration in (10, 10.01)]
    corpus("jsonl", tmp_path, pairs, pairs[:1]).read()
    (warning,) = warnings_of(caplog)
    assert "durations: 12 of 12 videos have more than one: 'v00' of 10.0 to 10.01 s, " in warning
    assert warning.count(" to ") == 10
    assert ", ...; " in warning


def test_noise_of_floats_is_no_second_duration(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pairs = [Pair("v", 1, 2, 10), Pair("v", 1, 2, math.nextafter(10, 11)), Pair("other", 1, 2)]
    corpus("jsonl", tmp_path, pairs, pairs[:1]).read()
    assert warnings_of(caplog) == []


# What is drawn: each reader finds moments, which all that follows can take, or raises DataError; no more is promised.


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


fuzzed = settings(max_examples=150, deadline=None)
SOUND = {reader: encode(reader, PAIRS) for reader in READERS}


def check(reader: str, folder: Path, files: Files) -> None:
    try:
        moments = read(reader, folder, files)
    except DataError as error:
        message = str(error)
        assert any(str(folder / name) in message for name in NAMES[reader].values()), message
        assert INSTRUCTION.search(message.splitlines()[-1]), message
        return
    assert moments
    for each in moments:
        assert all(type(text) is str and text.strip() for text in (each.qid, each.video, each.query))
        assert each.query == each.query.strip()
        assert "\n" not in each.query or reader != "charades_sta"
        assert any(character.isalnum() for character in each.query)
        times = each.start_sec, each.end_sec, each.duration_sec
        assert all(type(time) is float and math.isfinite(time) for time in times)
        assert each.duration_sec > 0
    assert len({each.qid for each in moments}) == len(moments)
    try:
        kept, report = clean(moments, split="train", training=True)
    except DataError as error:
        complaint = str(error)
        assert complaint.startswith(f"train: none of the {len(moments)} pairs read is left; check the annotation file")
        return
    assert report.read == len(moments) == len(kept) + len(report.dropped)
    vocabulary = Vocabulary.build([each.query for each in kept], glove=None, dim=2)
    for each in kept:
        assert 0 <= each.start_sec < each.end_sec <= each.duration_sec
        # The words of every query have a vector: none is padding, 0, or unknown, 1.
        assert all(row > 1 for row in vocabulary.encode(each.query, max_words=50))
        assert 1 <= len(vocabulary.encode(each.query, max_words=50)) <= 50


def one_of_its_files(reader: str, content: st.SearchStrategy[bytes]) -> st.SearchStrategy[dict[str, bytes]]:
    """Sound files but for one, which is drawn."""
    return st.tuples(st.sampled_from(sorted(NAMES[reader])), content).map(lambda drawn: SOUND[reader] | dict([drawn]))


@every_reader
@fuzzed
@given(data=st.data())
def test_random_bytes(reader: str, folder: Path, data: st.DataObject) -> None:
    content = st.tuples(st.sampled_from([b"", BOM]), st.binary(max_size=200)).map(b"".join)
    check(reader, folder, data.draw(one_of_its_files(reader, content)))


FRAGMENTS = [
    *(
        "v 1 2##a word\n",
        "00607",
        "##",
        " ",
        "\n",
        "\r",
        ",",
        '"',
        "id,length\n",
        "v,",
        "1",
        "-1",
        "1e999",
        "nan",
        "1_0",
    ),
    *("{", "}", "[", "]", ":", '"v"', "null", "true", "NaN", "\\u0000", "\\ud83d", "\ufeff", "\u2028", "\0", "\x1a"),
    *('"duration":', '"timestamps":', '"sentences":', '"fps":', "[[1, 2]]", '["a word"]', '{"qid": 1, "vid": "v",'),
    *(
        '"query": "a word",',
        '"duration": 9,',
        '"relevant_windows": [[0, 1]]}',
        "\u0661",
        "\u00b2",
        "\u02bc",
        "\U0001f600",
    ),
]


@every_reader
@fuzzed
@given(data=st.data())
def test_random_text(reader: str, folder: Path, data: st.DataObject) -> None:
    pieces = st.lists(st.sampled_from(FRAGMENTS) | st.text(max_size=8), max_size=30).map("".join)
    check(reader, folder, data.draw(one_of_its_files(reader, pieces.map(str.encode))))


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-100, 100)
    | st.floats()
    | st.text(max_size=10)
    | st.sampled_from(["a word", "\ud83d", "...", "25", "../../x", 10**400, 5e-324, 1.7e308, -0.0, 1e-7, 2**63])
)
KEYS = st.sampled_from(["v", "duration", "timestamps", "sentences", "fps", "num_frames", *FINE_ROW]) | st.text(
    max_size=4
)
VALUES = st.recursive(
    SCALARS | st.lists(st.lists(st.floats(-5, 15), min_size=2, max_size=2), max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


def mostly(sound: st.SearchStrategy[Any], odd: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Seven times in eight a sound value, so that enough files are read to the end."""
    return st.integers(0, 7).flatmap(lambda number: odd if number == 7 else sound)


def like(value: object) -> st.SearchStrategy[Any]:
    """Values of the same type, where that is a plain one."""
    if isinstance(value, int | float):
        return st.integers(1, 1000) | st.floats(-1e3, 1e3)
    return st.text(min_size=1).map(lambda text: f"{text}x") if isinstance(value, str) else VALUES


def places(value: object, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a JSON value, itself first."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, each in inner for place in places(each, (*path, key)))]


def replaced(value: Any, path: tuple[Any, ...], new: object) -> Any:
    """A copy of a JSON value with another one at a place."""
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = replaced(value[path[0]], path[1:], new)
    return copy


@pytest.mark.parametrize("reader", [reader for reader in READERS if reader != "charades_sta"])
@fuzzed
@given(data=st.data())
def test_random_json(reader: str, folder: Path, data: st.DataObject) -> None:
    text = SOUND[reader]["annotations"].decode()
    values = [json.loads(line) for line in text.splitlines()] if reader == "jsonl" else [json.loads(text)]
    for _ in range(data.draw(st.integers(1, 3), label="replaced")):
        row = data.draw(st.integers(0, len(values) - 1), label="row")
        path = data.draw(st.sampled_from(places(values[row])), label="path")
        old = reduce(getitem, path, values[row])
        values[row] = replaced(values[row], path, data.draw(mostly(like(old), VALUES), label="new"))
    content = "\n".join(json.dumps(value) for value in values).encode()
    check(reader, folder, {"annotations": content})


@fuzzed
@given(data=st.data())
def test_random_fields_of_charades_sta(folder: Path, data: st.DataObject) -> None:
    words = st.text(max_size=6) | SCALARS.filter(lambda value: value != "\ud83d").map(str)
    videos, numbers = mostly(st.just("v"), words), mostly(st.floats(-5, 15), words)
    lines = st.builds("{} {} {}##{}".format, videos, numbers, numbers, mostly(st.text().map("{} x".format), words))
    rows = st.builds("{},{}".format, mostly(st.just("00607"), words), mostly(st.floats(1, 15), words))
    check(
        "charades_sta",
        folder,
        {
            "annotations": "\n".join(data.draw(st.lists(lines, min_size=1, max_size=3))).encode(),
            "durations": "\n".join(["id,length", "v,9.5", *data.draw(st.lists(rows, max_size=2))]).encode(),
        },
    )


def flip(content: bytes, at: int, value: int) -> bytes:
    return content[:at] + bytes([value]) + content[at + 1 :]


def type_over(content: bytes, at: int, value: int) -> bytes:
    """Put a digit in the place of the next one."""
    return content[:at] + re.sub(rb"[0-9]", b"%d" % (value % 10), content[at:], count=1)


def cut(content: bytes, at: int, value: int) -> bytes:
    return content[:at]


def remove(content: bytes, at: int, value: int) -> bytes:
    return content[:at] + content[at + 1 + value % 8 :]


def insert(content: bytes, at: int, value: int) -> bytes:
    return content[:at] + FRAGMENTS[value % len(FRAGMENTS)].encode() + content[at:]


def repeat_line(content: bytes, at: int, value: int) -> bytes:
    lines = content.splitlines(keepends=True)
    line = content.count(b"\n", 0, at)
    return b"".join([*lines[: line + 1], *lines[line : line + 1], *lines[line + 1 :]])


def swap_tokens(content: bytes, at: int, value: int) -> bytes:
    tokens = re.split(rb"(\w+|\s+)", content)
    first, second = at % len(tokens), (at + 1 + value) % len(tokens)
    tokens[first], tokens[second] = tokens[second], tokens[first]
    return b"".join(tokens)


@every_reader
@fuzzed
@given(data=st.data())
def test_mutations_of_a_sound_file(reader: str, folder: Path, data: st.DataObject) -> None:
    argument = data.draw(st.sampled_from(sorted(NAMES[reader])))
    content = SOUND[reader][argument]
    mutations = st.lists(
        st.tuples(
            st.sampled_from([type_over, flip, insert, repeat_line, swap_tokens, remove, cut]),
            st.integers(0, len(content)),
            st.integers(0, 255),
        ),
        min_size=1,
        max_size=3,
    )
    for mutate, at, value in data.draw(mutations):
        content = mutate(content, min(at, len(content)), value)
    check(reader, folder, SOUND[reader] | {argument: content})


@every_reader
def test_the_sound_files_that_are_mutated_are_read(reader: str, folder: Path) -> None:
    assert as_pairs(read(reader, folder, SOUND[reader])) == PAIRS
    check(reader, folder, SOUND[reader])
