"""Oracle: files of a few lines, read by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from cpnet.data.moment import DataError, Moment
from cpnet.data.readers import read_charades_sta

CSV = 'id,script,length\nAAAAA,"one, two",30.5\n00607,three,12\nEMPTY,four,\n'
TXT = "AAAAA 24.3 30.4##person turn a light on.\n\n00607 9.0 2##  a person ## caf\u00e9\u2028sneezes.  \n"


def write(folder: Path, text: str | bytes, durations: str | bytes = CSV) -> tuple[Path, Path]:
    paths = folder / "pairs.txt", folder / "videos.csv"
    for path, content in zip(paths, (text, durations), strict=True):
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return paths


def read(folder: Path, text: str | bytes, durations: str | bytes = CSV) -> list[Moment]:
    annotations, csv = write(folder, text, durations)
    return read_charades_sta(annotations=annotations, durations=str(csv))


def test_reads_lines_as_they_are(tmp_path: Path) -> None:
    assert read(tmp_path, TXT) == [
        Moment(
            qid="AAAAA:1",
            video="AAAAA",
            query="person turn a light on.",
            start_sec=24.3,
            end_sec=30.4,
            duration_sec=30.5,
        ),
        Moment(
            qid="00607:3",
            video="00607",
            query="a person ## caf\u00e9\u2028sneezes.",
            start_sec=9.0,
            end_sec=2.0,
            duration_sec=12.0,
        ),
    ]


def test_byte_order_mark_and_crlf_change_nothing(tmp_path: Path) -> None:
    def dos(text: str) -> bytes:
        return b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode()

    assert read(tmp_path, dos(TXT), dos(CSV)) == read(tmp_path, TXT)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("AAAAA 1 2##ok then\nAAAAA 1 2 no mark\n", r"pairs\.txt: line 2: expected 'VIDEO START END##QUERY'"),
        ("AAAAA 1##one number\n", "line 1: expected"),
        ("AAAAA 1 2 3##three numbers\n", "line 1: expected"),
        ("AAAAA one 2##a word\n", "line 1: 'start' must be a number, found 'one'"),
        ("AAAAA 1 nan##a word\n", "line 1: 'end' must be a finite number, found nan"),
        ("AAAAA inf 2##a word\n", "line 1: 'start' must be a finite number, found inf"),
        ("AAAAA 1 2##\n", "line 1: 'query' must be a string that is not blank"),
        ("AAAAA 1 2## ?!\n", r"line 1: the query '\?!' has no words"),
        (b"AAAAA 1 2##ok then\nAAAAA 1 2##caf\xe9\n", "line 2: byte 15 is not UTF-8"),
        (b"\xef\xbb\xbfAAAAA 1 2##ok\n\xe9", "line 2: byte 1 is not UTF-8"),
        (" \r\n", "the file is empty"),
    ],
)
def test_names_the_place_of_a_malformed_line(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(tmp_path, text)


@pytest.mark.parametrize(
    ("durations", "message"),
    [
        (
            "id,duration\nAAAAA,3\n",
            r"videos\.csv: the columns 'id' and 'length' are needed, found \['id', 'duration'\]",
        ),
        ("id,length\nAAAAA,0\n", "line 2: 'length' must be above 0, found 0"),
        ("id,length\nAAAAA,-1\n", "line 2: 'length' must be above 0"),
        ("id,length\nAAAAA,nan\n", "line 2: 'length' must be a finite number"),
        ("id,length\nAAAAA,long\n", "line 2: 'length' must be a number, found 'long'"),
        ("id,length\nAAAAA,3\nAAAAA,3.0\nAAAAA,4\n", "line 4: a second length for AAAAA"),
        ("id,length\nAAAAA," + "9" * 200_000 + "\n", "line 2: not valid csv"),
        ("", "the file is empty"),
    ],
)
def test_names_the_place_of_a_malformed_duration(tmp_path: Path, durations: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(tmp_path, TXT, durations)


def test_counts_the_videos_without_a_duration_and_lists_ten(tmp_path: Path) -> None:
    lines = [f"V{number:02} 0 1##a word\n" for number in range(12)] * 2
    with pytest.raises(DataError, match=r"no duration for 13 videos .* EMPTY, V00, .*, V08; ") as caught:
        read(tmp_path, "EMPTY 0 1##a word\n" + "".join(lines))
    assert "V09" not in str(caught.value)


def test_names_a_missing_file(tmp_path: Path) -> None:
    annotations, csv = write(tmp_path, TXT)
    with pytest.raises(DataError, match=r"nowhere\.txt: cannot be read \(No such file"):
        read_charades_sta(annotations=tmp_path / "nowhere.txt", durations=csv)
    with pytest.raises(DataError, match="cannot be read"):
        read_charades_sta(annotations=annotations, durations=tmp_path)
