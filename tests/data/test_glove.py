"""Oracle: the words and numbers that a test wrote to its file."""

from __future__ import annotations

import gzip
import io
import re
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from cpnet.data.glove import read_glove
from cpnet.errors import DataError

WORDS = ["the", ",", "2.5", "at name@domain.com", ". . .", "\u00e9t\u00e9", "\u0085", "1 2", "8"]
VECTORS: NDArray[np.float32] = np.random.default_rng(0).normal(size=(len(WORDS), 5)).astype("f4")


def lines(words: list[str] = WORDS) -> list[str]:
    return [" ".join([word, *(repr(float(x)) for x in vector)]) for word, vector in zip(words, VECTORS, strict=False)]


def write(folder: Path, content: list[str], end: str = "\n") -> Path:
    path = folder / "glove.txt"
    path.write_bytes("".join(line + end for line in content).encode())
    return path


@pytest.mark.parametrize("end", ["\n", "\r\n", " \n"])
@pytest.mark.parametrize("header", [[], ["8 5"]])
def test_every_word_has_its_vector(tmp_path: Path, header: list[str], end: str) -> None:
    found = read_glove(write(tmp_path, header + lines(), end), WORDS, dim=5)
    assert list(found) == WORDS
    for word, vector in zip(WORDS, VECTORS, strict=True):
        assert found[word].dtype == np.float32
        np.testing.assert_array_equal(found[word], vector)


def zipped(**contents: bytes) -> bytes:
    with zipfile.ZipFile(file := io.BytesIO(), "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents.items():
            archive.writestr(f"{name}.txt", content)
    return file.getvalue()


TEXT = "\n".join(lines())
PLAIN, GZIP = TEXT.encode(), gzip.compress(TEXT.encode(), mtime=0)
HUGE = PLAIN + b"\n" + b"x" * (40 << 20)


@pytest.mark.parametrize(
    "content",
    [
        GZIP,
        gzip.compress(PLAIN[:200], mtime=0) + gzip.compress(PLAIN[200:], mtime=0),
        zipped(vectors=PLAIN, **{"__MACOSX/._vectors": b"\0"}),
        zipped(glove_5d=PLAIN, glove_50d=b"the 1", glove_15d=b"the 1"),
        re.sub(r" (?=(\S+ ){0,4}\S+$)", "\t", TEXT, flags=re.MULTILINE).encode(),  # tabs between all numbers
        re.sub(r" (?=(\S+ ){4}\S+$)", "\t", TEXT, flags=re.MULTILINE).encode(),  # a tab after the word
    ],
)
def test_archives_and_tabs_are_read(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "vectors"  # the content decides, not the name
    path.write_bytes(content)
    found = read_glove(path, WORDS, dim=5)
    assert list(found) == WORDS
    np.testing.assert_array_equal([*found.values()], VECTORS)
    assert [*tmp_path.iterdir()] == [path]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (GZIP[:-20], "cannot be read .*; download it again, or unpack it yourself"),
        (GZIP[:60] + b"damage" + GZIP[66:], "cannot be read"),
        (b"PK\x03\x04" + bytes(99), "cannot be read .*not a zip file"),
        (zipped(a=PLAIN, b=PLAIN), r"holds 2 files \(a.txt, b.txt\), not one with 5d in its name"),
        (zipped(), "holds 0 files"),
        (gzip.compress(HUGE, 1, mtime=0), "line 10: it is longer than 1 MB"),
        (zipped(vectors=HUGE), "line 10: it is longer than 1 MB"),
        (zipped(vectors=bytes(50 << 20)), "is not text"),
        (b"9 5\nthe " + bytes(20), "word2vec's binary form; .*\n.*KeyedVectors\n"),
        (gzip.compress(b"9 5\nthe " + bytes(20), mtime=0), "word2vec's binary form"),
    ],
)
def test_damaged_and_binary_files_are_refused_with_the_way_out(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "vectors").write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=rf"vectors.* {message}"):
            read_glove(tmp_path / "vectors", WORDS, dim=5)
        assert tracemalloc.get_traced_memory()[1] < 20 << 20
    finally:
        tracemalloc.stop()


def test_words_that_are_not_wanted_or_not_there_are_left_out(tmp_path: Path) -> None:
    path = write(tmp_path, [*lines(), "damaged 1 x"])  # not wanted, so not parsed
    found = read_glove(path, ["2.5", "nowhere", "the", ".", "1"], dim=5)  # "." and "1" only begin other words
    assert list(found) == ["the", "2.5"]
    assert read_glove(path, [], dim=5) == {}


def test_first_of_several_lines_of_a_word_counts(tmp_path: Path) -> None:
    found = read_glove(write(tmp_path, lines(["a", "b", "a"])), ["a"], dim=5)
    np.testing.assert_array_equal(found["a"], VECTORS[0])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("word 1 2 3", "'word' needs 5 finite numbers"),
        ("word", "'word' needs 5 finite numbers"),
        ("word 1 2 nan 4 5", "'word' needs 5 finite numbers"),
        ("word 1 2 inf 4 5", "'word' needs 5 finite numbers"),
        ("word 1 2 x 4 5", "could not convert"),
        ("word 1 2  4 5", "could not convert"),
    ],
)
def test_malformed_line_of_a_wanted_word_is_named(tmp_path: Path, line: str, message: str) -> None:
    path = write(tmp_path, [*lines(), line])
    with pytest.raises(DataError, match=rf"glove\.txt, line 10: .*{message}.*; the file is damaged, download it again"):
        read_glove(path, ["word"], dim=5)


def test_file_of_another_width_or_kind_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no file of word vectors at "):
        read_glove(tmp_path / "glove.txt", WORDS, dim=5)
    with pytest.raises(DataError, match=r"holds vectors 5 wide, not 300; set dataset\.word_vectors\.path"):
        read_glove(write(tmp_path, lines()), WORDS, dim=300)
    for content in ([], ["some text"], ["8 5"]):
        with pytest.raises(DataError, match=r"holds vectors [01] wide, not 5"):
            read_glove(write(tmp_path, content), WORDS, dim=5)
