"""Oracle: the words and numbers that a test wrote to its file."""

from __future__ import annotations

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
