"""Hostile annotation files, the same for every reader, from tables and drawn.

Oracle: the tables state the defect of each file and its place, and the content of files that are merely unusual.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import math
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cpnet.data import readers
from cpnet.data.cleaning import clean
from cpnet.data.moment import Moment
from cpnet.data.tokens import tokenize
from cpnet.data.vocabulary import SPECIAL, Vocabulary, words_of
from cpnet.errors import DataError

BOM = codecs.BOM_UTF8
FPS = 24
Files = Mapping[str, bytes]  # content by argument of the reader

READERS: dict[str, Callable[..., list[Moment]]] = {
    **{name.removeprefix("read_"): getattr(readers, name) for name in readers.__all__},
    "snag": partial(readers.read_snag, split="train"),
    "tacos_text": partial(readers.read_tacos_text, fps=FPS),
}
TEXT = ("charades_sta", "tacos_text")
NAMES = {
    reader: {"annotations": "pairs"} | ({"durations": "videos.csv"} if reader in TEXT else {}) for reader in READERS
}
every_reader = pytest.mark.parametrize("reader", list(READERS))
# Every message ends with an instruction.
INSTRUCTION = re.compile(r"; ((correct|download|check|set|add|keep|save|remove|make|quote) .+|is this .+\?)$")


FINE_ROW: dict[str, Any] = {"qid": 7, "query": "a dog", "duration": 20, "vid": "00607", "relevant_windows": [[1, 2]]}


class Pair(NamedTuple):
    video: str
    start_sec: float
    end_sec: float
    duration_sec: float = 10
    query: str = "a word"


def encode(reader: str, pairs: Sequence[Pair]) -> dict[str, bytes]:
    """Return the pairs in the format of the reader; the qids of jsonl are q0, q1, ..."""
    if reader in TEXT:
        table = io.StringIO()
        durations = dict.fromkeys((pair.video, pair.duration_sec) for pair in pairs)
        csv.writer(table).writerows([("id", "length"), *durations])
        forms = {"charades_sta": "{0} {1} {2}##{4}\n", "tacos_text": "{0}_{frames[0]:.0f}_{frames[1]:.0f}:{4}\n"}
        lines = "".join(forms[reader].format(*each, frames=(each[1] * FPS, each[2] * FPS)) for each in pairs)
        return {"annotations": lines.encode(), "durations": table.getvalue().encode()}
    if reader == "jsonl":
        rows = [
            dict(zip(FINE_ROW, (f"q{number}", query, duration, video, [[start, end]]), strict=True))
            for number, (video, start, end, duration, query) in enumerate(pairs)
        ]
        return {"annotations": "".join(json.dumps(row) + "\n" for row in rows).encode()}
    if reader == "csv":
        table = io.StringIO()
        csv.writer(table).writerows([("id", "start (sec)", "end (sec)", "length", "description"), *pairs])
        return {"annotations": table.getvalue().encode()}
    if reader == "lists":
        listed = [[video, duration, [start, end], query] for video, start, end, duration, query in pairs]
        return {"annotations": json.dumps(listed, indent=1).encode()}
    if reader in ("snag", "ego4d_nlq"):
        return {"annotations": json.dumps((nest_snag if reader == "snag" else nest_ego4d)(pairs)).encode()}
    scale, rate = (FPS, {"fps": FPS}) if reader == "tacos" else (1, {})
    entries: dict[str, dict[str, Any]] = {}
    for video, start, end, duration, query in pairs:
        entry = entries.setdefault(video, {"duration": duration * scale, "timestamps": [], "sentences": [], **rate})
        entry["timestamps"].append([start * scale, end * scale])
        entry["sentences"].append(query)
    return {"annotations": json.dumps(entries, indent=1).encode()}


def nest_snag(pairs: Sequence[Pair]) -> dict[str, Any]:
    videos: dict[str, Any] = {}
    for video, start, end, duration, query in pairs:
        entry = videos.setdefault(video, {"fps": 30.0, "num_frames": 900, "duration": duration, "annotations": []})
        entry["annotations"].append({"segment": [start, end], "sentence": query, "sentence_id": f"{len(videos)}_1"})
    return {"train": videos, "val": {"w": {"duration": 3, "annotations": []}}}


def nest_ego4d(pairs: Sequence[Pair]) -> dict[str, Any]:
    clips: dict[str, Any] = {}
    for video, start, end, duration, query in pairs:
        new = {"clip_uid": video, "video_start_sec": 40.0, "video_end_sec": 40.0 + duration, "annotations": []}
        asked = {"clip_start_sec": start, "clip_end_sec": end, "query": query, "template": None}
        clips.setdefault(video, new)["annotations"].append({"annotation_uid": "u", "language_queries": [asked]})
    return {"version": "1", "videos": [{"video_uid": "a", "clips": [*clips.values()]}]}


def write(reader: str, folder: Path, files: Files) -> dict[str, Path]:
    folder.mkdir(exist_ok=True)
    paths = {argument: folder / name for argument, name in NAMES[reader].items()}
    for argument, path in paths.items():
        path.write_bytes(files[argument])
    return paths


def read(reader: str, folder: Path, files: Files) -> list[Moment]:
    return READERS[reader](**write(reader, folder, files))


def as_pairs(moments: Sequence[Moment]) -> list[Pair]:
    return [Pair(each.video, *each.windows_sec[0], each.duration_sec, each.query) for each in moments]


def error_of(reader: str, folder: Path, files: Files) -> str:
    """Return the message of the reader's error, which must end with an instruction."""
    with pytest.raises(DataError) as caught:
        read(reader, folder, files)
    message = str(caught.value)
    assert INSTRUCTION.search(message), message
    return message


Case = tuple[str | bytes, str, str]  # content of the file at fault, place, complaint
NOT_NUMBER, NOT_TEXT = "must be a finite number, found ", "must be a string that is not blank, found "

ANY_FILE: list[Case] = [
    (b"", "", "the file is empty"),
    (BOM + b"\n", "", "the file is empty"),
    ("a word".encode("utf-16"), "line 1: ", "byte 1 is not UTF-8"),
    (b"\r\n\ncaf\xe9", "line 3: ", "byte 4 is not UTF-8"),
    (BOM + b"\r\rcaf\xe9", "line 3: ", "byte 4 is not UTF-8"),
    (b"\n\xed\xa0\x80", "line 2: ", "byte 1 is not UTF-8"),  # a surrogate
]
CHARADES_PAIRS: list[Case] = [
    ("v 1 2##fine\nv 1##a word", "line 2: ", "expected 'VIDEO START END##QUERY', found 'v 1##a word'"),
    ("v 1 2##fine\nv 1 2", "line 2: ", "expected 'VIDEO START END##QUERY', found 'v 1 2'"),
    ("v 1 2##fine\nv 1 2 3##a word", "line 2: ", "expected 'VIDEO START END##QUERY', found 'v 1 2 3##a word'"),
    ("v 1 2##fine\r\nv 1 two##a word", "line 2: ", "'end' must be a number, found 'two'"),
    ("v 1 1_5##a word", "line 1: ", "'end' must be a number, found '1_5'"),
    ("v nan 2##a word", "line 1: ", "'start' must be a finite number, found nan"),
    ("v 1 1e999##a word", "line 1: ", "'end' must be a finite number, found inf"),
    ("v 1 2##fine\rv 1 2## ", "line 2: ", "'query' must be a string that is not blank"),
    ("v 1 2##fine\nv 1 2##?!", "line 2: ", "the query '?!' has no words"),
    ("v 1 2##fine\n\ufeffv 1 2##a word", "", "pairs: '\\ufeffv'; is this"),
    ("\u200bv 1 2##a word", "", "pairs: '\\u200bv'; is this"),
    (
        "".join(f"V{number:02} 1 2##a word\n" for number in range(12)) * 2,
        "",
        "'V08', 'V09', ...; is this",
    ),  # ten of them
]
CHARADES_DURATIONS: list[Case] = [
    ("id,duration\nv,3", "", "the columns 'id', 'length' are required, found ['id', 'duration']"),
    ("id,length\nu,3\nv,0", "line 3: ", "'length' must be above 0, found 0"),
    ("id,length\nv,long", "line 2: ", "'length' must be a number, found 'long'"),
    ("id,length\nv,nan", "line 2: ", "'length' must be a finite number, found nan"),
    ("id,length\nv,\nu,3", "", "no duration for 1 videos of "),
    ("id,length\nv,3\r\nv,3.0\r\nv,4", "line 4: ", "a second length for v, 3.0 before"),
    ("id,script,length\nv,first, 2,30", "line 2: ", "more values than columns"),
    ('id,script,length\nv,"one,3\nu,two,4\n', "line 3: ", "not valid csv"),
    ("id,length\nv," + "9" * 200_000, "line 2: ", "not valid csv"),
]

VIDEO: dict[str, Any] = {"timestamps": [[1, 2], [3, 4]], "sentences": ["one word", "two words"]}
SECONDS: dict[str, Any] = VIDEO | {"duration": 10}
FRAMES: dict[str, Any] = SECONDS | {"num_frames": 250, "fps": FPS}
WHOLE = json.dumps({"u": SECONDS, "v": SECONDS})
VIDEOS: list[Case] = [
    ("[]", "", "expected a JSON object, found []"),
    ('{"v": null}', "video 'v': ", "expected a JSON object, found None"),
    (json.dumps({" ": FRAMES}), "video ' ': ", "'video' must be a string that is not blank"),
    (json.dumps({"\ud83d": FRAMES}), "video '\\ud83d': ", "half a character"),
    ('{"v": 1,\n"v": 2}', "", "the key 'v' appears twice in one object, with 1 and 2"),
    ('{"v": {"fps": 25, "fps": 30}}', "", "the key 'fps' appears twice in one object, with 25"),
    (WHOLE[:-9], "", "not valid JSON"),
    (WHOLE + WHOLE, "", "not valid JSON"),
    ("\n\ufeff" + WHOLE, "", "not valid JSON"),
    ('{"v":' * 100_000, "", "not valid JSON"),
    ('{"v": ' + "1" * 10_000 + "}", "", "JSON"),
]


def change_videos(entry: dict[str, Any], length: str, missing: Sequence[str]) -> list[Case]:
    """Change the second of two sound videos."""
    changes: list[tuple[dict[str, object], str, str]] = [
        ({length: 0}, ": ", "'duration' must be above 0, found 0"),
        ({length: None}, ": ", "'duration' " + NOT_NUMBER + "None"),
        ({length: True}, ": ", "'duration' " + NOT_NUMBER + "True"),
        ({length: "9"}, ": ", "'duration' " + NOT_NUMBER + "'9'"),
        ({length: math.nan}, ": ", "'duration' " + NOT_NUMBER + "nan"),
        ({length: 10**400}, ": ", "'duration' " + NOT_NUMBER + "1000"),
        ({"sentences": ["one word"]}, ": ", "2 timestamps but 1 sentences"),
        ({"timestamps": None}, ": ", "'timestamps' must be a list, found None"),
        ({"sentences": "ab"}, ": ", "'sentences' must be a list, found 'ab'"),
        ({"timestamps": [[1, 2], [1, 2, 3]]}, ", pair 1: ", "a span must be a list [start, end], found [1, 2, 3]"),
        ({"timestamps": [[1, 2], [1, "2"]]}, ", pair 1: ", "'end' " + NOT_NUMBER + "'2'"),
        ({"timestamps": [[-math.inf, 2], [1, 2]]}, ", pair 0: ", "'start' " + NOT_NUMBER + "-inf"),
        ({"sentences": ["fine", "\t"]}, ", pair 1: ", "'sentence' " + NOT_TEXT),
        ({"sentences": ["fine", "..."]}, ", pair 1: ", "the query '...' has no words"),
        ({"sentences": ["fine", "a \udc00"]}, ", pair 1: ", "'sentence' contains half a character"),
    ]
    if "fps" in entry:
        changes += [
            ({"fps": None}, ": ", "no frame rate in the file"),
            ({"fps": 0}, ": ", "'fps' must be above 0, found 0"),
            ({"fps": "25"}, ": ", "'fps' " + NOT_NUMBER + "'25'"),
            ({"fps": 1e-3, "timestamps": [[0, 1], [2, 1e306]]}, ", pair 1: ", "'end' " + NOT_NUMBER + "inf"),
            ({"num_frames": 5e-324}, ": ", "'duration' must be above 0, found 0.0"),
        ]
    changed = [(json.dumps({"u": entry, "v": entry | change}), place, said) for change, place, said in changes]
    return [
        *((content, f"video 'v'{place}", complaint) for content, place, complaint in changed),
        *((json.dumps({"v": without(entry, key)}), "video 'v': ", f"the key '{key}' is missing") for key in missing),
    ]


def without(entry: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in entry.items() if name != key}


FINE_LINE = json.dumps(FINE_ROW)
ROWS: list[Case] = [
    *((json.dumps(without(FINE_ROW, key)), "line 1: ", f"the key '{key}' is missing") for key in [*FINE_ROW][:4]),
    (FINE_LINE + "\n{}", "line 2: ", "the key 'qid' is missing, found no keys"),
    (FINE_LINE + "\r\n[]", "line 2: ", "expected a JSON object, found []"),
    (FINE_LINE + "\n" + FINE_LINE[:-9], "line 2: ", "not valid JSON"),
    (FINE_LINE * 2, "line 1: ", "not valid JSON"),
    (FINE_LINE + "\n\ufeff" + FINE_LINE, "line 2: ", "not valid JSON"),
    (FINE_LINE + "\r" + "[" * 100_000, "line 2: ", "not valid JSON"),
    (json.dumps([FINE_ROW] * 2), "row 2: ", "the qid '7' is on row 1 too"),
    (json.dumps({"train": [FINE_ROW], "test": [FINE_ROW]}), "", "several lists of rows, 'train', 'test'; keep one"),
    (json.dumps({"v": {"video_duration": 3}}, indent=1), "row 1: ", "the key 'qid' is missing, found 'v'"),
    (f"[{FINE_LINE},]", "", "not valid JSON"),
    (json.dumps({"annotations": [FINE_ROW]}, indent=1)[:-1], "", "not valid JSON"),
    ('{"qid": 8, "qid": 9}', "line 1: ", "the key 'qid' appears twice in one object, with 8"),
]


def change_rows() -> list[Case]:
    """Change the second of two sound rows."""
    changes: list[tuple[dict[str, object], str]] = [
        ({"qid": 7}, "the qid '7' is on line 1 too"),
        ({"qid": True}, "'qid' " + NOT_TEXT + "True"),
        ({"vid": 6.5}, "'vid' " + NOT_TEXT + "6.5"),
        ({"duration": 0.0}, "'duration' must be above 0, found 0.0"),
        ({"duration": math.inf}, "'duration' " + NOT_NUMBER + "inf"),
        ({"relevant_windows": []}, "'relevant_windows' is empty"),
        ({"relevant_windows": "none"}, "'relevant_windows' must be a list, found 'none'"),
        ({"relevant_windows": [1, 2]}, "a span must be a list [start, end], found 1"),
        ({"relevant_windows": [[None, 2]]}, "'start' " + NOT_NUMBER + "None"),
        ({"query": "\u3000"}, "'query' " + NOT_TEXT),
        ({"query": "?"}, "the query '?' has no words"),
        ({"query": "a \udc00"}, "'query' contains half a character"),
    ]
    second = FINE_ROW | {"qid": 8}
    return [(FINE_LINE + "\n" + json.dumps(second | change), "line 2: ", complaint) for change, complaint in changes]


CASES: dict[tuple[str, str], list[Case]] = {
    ("charades_sta", "annotations"): CHARADES_PAIRS,
    ("charades_sta", "durations"): CHARADES_DURATIONS,
    ("activitynet_captions", "annotations"): VIDEOS + change_videos(SECONDS, "duration", missing=[*SECONDS]),
    ("tacos", "annotations"): VIDEOS
    + change_videos(FRAMES, "num_frames", missing=[*VIDEO])
    + change_videos(without(FRAMES, "num_frames"), "duration", missing=["duration"]),
    ("jsonl", "annotations"): ROWS + change_rows(),
    ("lists", "annotations"): [
        ("{}", "", "'rows' must be a list, found {}"),
        (
            '[["v", 9, [1, 2], "a word"],\n["v", 9, 1, 2, "a word"]]',
            "row 2: ",
            "expected [video, duration, [start, end]",
        ),
        ('[["v", 0, [1, 2], "a word"]]', "row 1: ", "'duration' must be above 0"),
        ('[[true, 9, [1, 2], "a word"]]', "row 1: ", "'video' " + NOT_TEXT + "True"),
    ],
    ("csv", "annotations"): [
        (
            "id,start,end,length\nv,1,2,9",
            "line 2: ",
            "the key 'query' is missing, found 'id', 'start'",
        ),
        ("id,start,end,query\nv,1,2,a word", "line 2: ", "the key 'duration' is missing"),
        ("video,query,start,end,duration\nv,a word,1,2", "line 2: ", "'duration' must be a string that is not blank"),
        ("video,query,start,end,duration\nv,a word,1,two,9", "line 2: ", "'end' must be a number, found 'two'"),
        ("video,query,start,end,duration\nv,one, two,1,2,9", "line 2: ", "more values than columns"),
        ("video,query,start,end,duration\nv,?!,1,2,9", "line 2: ", "the query '?!' has no words"),
    ],
    ("snag", "annotations"): [
        ('{"val": {}}', "", "the key 'train' is missing, found 'val'"),
        ('{"train": {"v": {"annotations": []}}}', "video 'v': ", "the key 'num_frames' is missing"),
        ('{"train": {"v": {"num_frames": 9, "fps": 0}}}', "video 'v': ", "'fps' must be above 0"),
        (
            '{"train": {"v": {"duration": 9, "annotations": [{"sentence": "a"}]}}}',
            "video 'v': ",
            "the key 'segment' is",
        ),
    ],
    ("ego4d_nlq", "annotations"): [
        ('{"videos": [{"clips": [{}]}]}', "", "the key 'clip_uid' is missing"),
        ('{"videos": [{"clips": [{"clip_uid": "v"}]}]}', "clip v: ", "the key 'video_start_sec' is missing"),
        ('{"videos": [3]}', "", "expected a JSON object, found 3"),
    ],
    ("tacos_text", "annotations"): [
        ("v_1_2:fine\nv_1:a word", "line 2: ", "expected 'VIDEO_START_END:QUERY#QUERY', found 'v_1:a word'"),
        ("v_1_2:#  #", "line 1: ", "expected 'VIDEO_START_END:QUERY#QUERY'"),
        ("v_1_2:?!", "line 1, pair 0: ", "the query '?!' has no words"),
        ("w_1_2:a word", "", "no duration for 1 videos of "),
    ],
    ("tacos_text", "durations"): [
        ('{"v": 0}', "video 'v': ", "'duration' must be above 0"),
        ('{"v": {"frames": 9}}', "video 'v': ", "the key 'duration' is missing, found 'frames'"),
        ('{"v": [9, 25]}', "video 'v': ", "'duration' " + NOT_NUMBER + "[9, 25]"),
    ],
}


@pytest.mark.parametrize(
    ("reader", "argument", "case"),
    [
        pytest.param(reader, argument, case, id=f"{reader}-{argument}-{case[2]}")
        for (reader, argument), cases in CASES.items()
        for case in ANY_FILE + cases
    ],
)
def test_error_names_file_place_defect_and_remedy(reader: str, argument: str, case: Case, tmp_path: Path) -> None:
    content, place, complaint = case
    pairs = b"v_1_2:a word\n" if reader == "tacos_text" else b"v 1 2##a word\n"
    files = {"annotations": pairs, "durations": b"id,length\nv,10\n"}
    message = error_of(reader, tmp_path, files | {argument: content.encode() if isinstance(content, str) else content})
    assert NAMES[reader][argument] in message
    assert place in message
    assert complaint in message


@every_reader
def test_error_names_a_path_that_cannot_be_read(reader: str, tmp_path: Path) -> None:
    paths = write(reader, tmp_path, encode(reader, [Pair("v", 1, 2)]))
    for argument in paths:
        for path in (
            tmp_path / "nowhere",
            tmp_path,
            "/dev/zero",
            "null\0character",
            "~no-such-user-of-this-machine/file",
        ):
            with pytest.raises(DataError, match=r" cannot be read \(.+\); check the path in the dataset's") as caught:
                READERS[reader](**paths | {argument: path})
            assert str(caught.value).startswith(str(path))


@every_reader
def test_path_may_start_with_tilde(reader: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    write(reader, tmp_path, encode(reader, [Pair("v", 1, 2)]))
    paths = {argument: f"~/{name}" for argument, name in NAMES[reader].items()}
    assert as_pairs(READERS[reader](**paths)) == [Pair("v", 1, 2)]


def test_repeated_key_of_a_large_file_is_found_quickly(tmp_path: Path) -> None:
    keys = "".join(f'"v{number}": 0,' for number in range(200_000))
    # Comparing every pair of keys would exceed the timeout many times.
    files = {"annotations": ("{" + keys + '"v199999": 1}').encode()}
    assert "the key 'v199999' appears twice" in error_of("activitynet_captions", tmp_path, files)


PAIRS = [
    Pair("00607", 1, 2.5, 10, "A man runs."),
    Pair("00607", 3, 4, 10, "caf\u00e9\u2028\x85 \u4eba \U0001f600 it's \x1c fine"),
    Pair("v", 0, 8, 8, "nul \0 and ## more"),
]
PATHS = ["../../x", "/etc/passwd", "..", "~", "a/../b", "C:\\x", "%2e%2e", "$HOME", "-rf", "NUL", "\x1b[2J"]
PATHS += ["a\0b"] * (sys.version_info >= (3, 11))  # csv of Python 3.10 refuses it


@every_reader
@pytest.mark.parametrize("bom", [b"", BOM])
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r", b"\r\r\n"])
def test_byte_order_mark_and_line_ends_change_nothing(bom: bytes, line_end: bytes, reader: str, tmp_path: Path) -> None:
    pairs = PAIRS[:2] if reader == "tacos_text" else PAIRS  # its sentences end at "#"
    pairs = [*pairs, *(Pair(path, 1, 2) for path in PATHS)]  # ids that look like paths stay strings
    for end in (line_end, b""):  # the last line may lack its end
        files = {
            name: bom + line_end.join(content.splitlines()) + end for name, content in encode(reader, pairs).items()
        }
        assert as_pairs(read(reader, tmp_path, files)) == pairs


# Drawn files: each reader returns moments that the next steps accept, or raises DataError.


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


def message_of(reader: str, folder: Path, files: Files) -> str:
    """Return the message of the reader's error, or nothing if it reads the files."""
    try:
        read(reader, folder, files)
    except DataError as error:
        return str(error)
    return ""


@every_reader
def test_message_quotes_little_of_a_file_of_one_long_line(reader: str, folder: Path) -> None:
    long = b"7x" * 20_000
    for argument, content in SOUND[reader].items():
        tokens = re.split(rb"(\w+)", content)
        made = [b"".join([*tokens[:at], long, *tokens[at + 1 :]]) for at in range(1, min(len(tokens), 160), 2)]
        for hostile in (long, b"{" + long, b'["' + long, b'{"' + long + b'": "' + long + b'"}', *made):
            assert len(message_of(reader, folder, SOUND[reader] | {argument: hostile})) < 1000


fuzzed = settings(max_examples=60, deadline=None)
SOUND = {reader: encode(reader, PAIRS) for reader in READERS}


def check(reader: str, folder: Path, files: Files) -> None:
    try:
        moments = read(reader, folder, files)
    except DataError as error:
        message = str(error)
        assert any(str(folder / name) in message for name in NAMES[reader].values()), message
        assert INSTRUCTION.search(message.splitlines()[-1]), message
        return
    for each in moments:
        assert all(type(text) is str and text.strip() for text in (each.qid, each.video, each.query))
        assert each.query == each.query.strip()
        assert "\n" not in each.query or reader != "charades_sta"
        assert any(character.isalnum() for character in each.query)
        times = (*chain.from_iterable(each.windows_sec), each.duration_sec)
        assert all(type(time) is float and math.isfinite(time) for time in times)
        assert each.duration_sec > 0
    assert len({each.qid for each in moments}) == len(moments)
    try:
        kept, report = clean(moments, split="train", drop=True)
    except DataError as error:
        complaint = str(error)
        unknown = sum(not each.windows_sec for each in moments)
        left = f"no pair is left of the {len(moments)} read; check the annotation file"
        lacking = f"{unknown} of {len(moments)} pairs have no true window"
        assert complaint.startswith(f"train: {lacking if unknown else left}")
        return
    assert report.read == len(moments)
    assert report.windows == len(report.dropped) + sum(len(each.windows_sec) for each in kept)
    words = sorted({word for each in kept for word in tokenize(each.query)})
    vocabulary = Vocabulary((*SPECIAL, *words), torch.zeros(len(SPECIAL) + len(words), 2))
    for each in kept:
        assert all(0 <= start < end <= each.duration_sec for start, end in each.windows_sec)
        rows = vocabulary.rows(words_of(each.query, max_words=50))
        assert 1 <= len(rows) <= 50
        assert min(rows) > 1  # neither padding nor unknown


WORDS = r"""v ## 00607 , " id,length v, 1 -1 1e999 nan { } [ ] : "v" null true NaN \u0000 \ud83d "fps": "duration":9,
"timestamps": 1_0 "sentences": [[1,2]] {"qid":1,"vid":"v", "query":"x", "relevant_windows":[[0,1]]}"""
FRAGMENTS = [
    *WORDS.split(),
    *("v 1 2##a word\n", '["a word"]', "\n", "\r", " ", "\0", "\x1a", "\ufeff", "\u2028"),
    *("\u0661", "\u00b2", "\u02bc", "\U0001f600"),
]


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-100, 100)
    | st.floats()
    | st.text(max_size=10)
    | st.sampled_from(["a word", "\ud83d", "...", "25", "../../x", 10**400, 5e-324, 1.7e308, -0.0, 1e-7, 2**63])
)
NAMES_OF_KEYS = ["v", "duration", "timestamps", "sentences", "fps", "num_frames", *FINE_ROW]
KEYS = st.sampled_from(NAMES_OF_KEYS) | st.text(max_size=4)
VALUES = st.recursive(
    SCALARS | st.lists(st.lists(st.floats(-5, 15), min_size=2, max_size=2), max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


def mostly(sound: st.SearchStrategy[Any], odd: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Draw a sound value seven times in eight, so that enough files are read to the end."""
    return st.integers(0, 7).flatmap(lambda number: odd if number == 7 else sound)


def like(value: object) -> st.SearchStrategy[Any]:
    """Draw a value of the same type."""
    if isinstance(value, int | float):
        return st.integers(1, 1000) | st.floats(-1e3, 1e3)
    return st.text(min_size=1).map(lambda text: f"{text}x") if isinstance(value, str) else VALUES


def places(value: Any) -> list[tuple[Any, Any]]:
    """Return (container, key) of every value inside a JSON value."""
    keys = [*value] if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    return [*((value, key) for key in keys), *(place for key in keys for place in places(value[key]))]


@pytest.mark.parametrize("reader", [reader for reader in READERS if reader not in (*TEXT, "csv")])
@fuzzed
@given(data=st.data())
def test_random_json(reader: str, folder: Path, data: st.DataObject) -> None:
    text = SOUND[reader]["annotations"].decode()
    values = [json.loads(line) for line in text.splitlines()] if reader == "jsonl" else [json.loads(text)]
    for _ in range(data.draw(st.integers(1, 3), label="replaced")):
        container, key = data.draw(st.sampled_from(places(values)), label="place")
        container[key] = data.draw(mostly(like(container[key]), VALUES), label="new")
    content = "\n".join(json.dumps(value) for value in values).encode()
    check(reader, folder, {"annotations": content})


def swap_tokens(content: bytes, at: int, value: int) -> bytes:
    tokens = re.split(rb"(\w+|\s+)", content)
    first, second = at % len(tokens), (at + 1 + value) % len(tokens)
    tokens[first], tokens[second] = tokens[second], tokens[first]
    return b"".join(tokens)


MUTATIONS: list[Callable[[bytes, int, int], bytes]] = [
    swap_tokens,
    lambda content, at, value: content[:at],
    lambda content, at, value: content[:at] + bytes([value]) + content[at + 1 :],
    lambda content, at, value: content[:at] + content[at + 1 + value % 8 :],
    lambda content, at, value: content[:at] + FRAGMENTS[value % len(FRAGMENTS)].encode() + content[at:],
]


@every_reader
@fuzzed
@given(data=st.data())
def test_mutations_of_a_sound_file(reader: str, folder: Path, data: st.DataObject) -> None:
    argument = data.draw(st.sampled_from(sorted(NAMES[reader])))
    content = SOUND[reader][argument]
    mutation = st.tuples(st.sampled_from(MUTATIONS), st.integers(0, len(content)), st.integers(0, 255))
    for mutate, at, value in data.draw(st.lists(mutation, min_size=1, max_size=3)):
        content = mutate(content, min(at, len(content)), value)
    check(reader, folder, SOUND[reader] | {argument: content})
