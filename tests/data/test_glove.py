"""The oracle is the list of words and numbers that a test wrote to its file."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from cpnet.data import glove
from cpnet.data.glove import read_glove
from cpnet.data.moment import DataError

WORDS = ["the", ",", "2.5", "at name@domain.com", ". .", "\u00e9t\u00e9", "\u0085", "1 2"]
VECTORS: NDArray[np.float32] = np.random.default_rng(0).normal(size=(len(WORDS), 5)).astype("f4")


def lines(words: list[str] = WORDS, vectors: NDArray[np.float32] = VECTORS) -> list[str]:
    return [" ".join([word, *(repr(float(x)) for x in vector)]) for word, vector in zip(words, vectors, strict=True)]


def write(folder: Path, content: list[str], end: str = "\n") -> Path:
    path = folder / "glove.txt"
    path.write_bytes("".join(line + end for line in content).encode())
    return path


@pytest.mark.parametrize("end", ["\n", "\r\n", " \n"])
@pytest.mark.parametrize("header", [[], ["8 5"]])
def test_every_word_has_its_vector(tmp_path: Path, header: list[str], end: str) -> None:
    path = write(tmp_path, header + lines(), end)
    for _ in range(2):  # from the text, then from the cache
        words, vectors = read_glove(path, dim=5)
        assert words == WORDS
        assert vectors.dtype == np.float32
        np.testing.assert_array_equal(vectors, VECTORS)


def test_only_the_words_asked_for_are_taken_in_the_order_of_the_file(tmp_path: Path) -> None:
    words, vectors = read_glove(write(tmp_path, lines()), words=["2.5", "nowhere", "the"])
    assert words == ["the", "2.5"]
    np.testing.assert_array_equal(vectors, VECTORS[[0, 2]])
    words, vectors = read_glove(tmp_path / "glove.txt", words=["nowhere"])
    assert (words, vectors.shape) == ([], (0, 5))


def test_the_first_of_two_lines_for_a_word_counts(tmp_path: Path) -> None:
    words, vectors = read_glove(write(tmp_path, lines(["a", "b", "a"], VECTORS[:3])))
    assert words == ["a", "b"]
    np.testing.assert_array_equal(vectors, VECTORS[:2])


def test_the_width_survives_words_with_spaces_in_the_first_lines(tmp_path: Path) -> None:
    words, _ = read_glove(write(tmp_path, lines([". .", "at x y", "9 9", "a"], VECTORS[:4])))
    assert words == [". .", "at x y", "9 9", "a"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("short 1 2 3", "where 5 are wanted"),
        ("text 1 2 x 4 5", "could not convert"),
        ("nan 1 2 nan 4 5", "finite"),
        ("1 2 3 4 5", "where 5 are wanted"),
        (" 1 2 3 4 5", "where 5 are wanted"),
    ],
)
def test_a_malformed_line_is_named_and_leaves_nothing_behind(tmp_path: Path, line: str, message: str) -> None:
    path = write(tmp_path, [*lines(), line])
    with pytest.raises(DataError, match=rf"glove\.txt, line 9: .*({message})"):
        read_glove(path)
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no file of word vectors"):
        read_glove(tmp_path / "glove.txt")
    for content in ([], ["just some words", "and more"]):
        with pytest.raises(DataError, match="holds no line of a word and numbers"):
            read_glove(write(tmp_path, content))
    (tmp_path / "latin.txt").write_bytes("\u00e9 1 2\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"line 1: .*decode"):
        read_glove(tmp_path / "latin.txt")


def test_another_width_than_asked_for_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="vectors 5 wide, not 300"):
        read_glove(write(tmp_path, lines()), dim=300)


def test_the_text_is_read_once_until_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, lines())
    read_glove(path)
    with monkeypatch.context() as patched:
        patched.setattr(glove, "_make", lambda *_: pytest.fail("read the text again"))
        _, vectors = read_glove(path)
        assert isinstance(vectors, np.memmap)
    write(tmp_path, lines(["new"], VECTORS[:1]))
    assert read_glove(path)[0] == ["new"]
    same_size = lines(["old"], VECTORS[:1])
    write(tmp_path, same_size)
    os.utime(path, ns=(1, 1))
    assert read_glove(path)[0] == ["old"]
    assert len(list(tmp_path.iterdir())) == 3  # the text, and one cache of two files


@pytest.mark.parametrize("suffix", [".npy", ".words"])
@pytest.mark.parametrize("damage", ["cut", "empty", "gone", "garbage"])
def test_a_damaged_cache_is_made_anew(tmp_path: Path, suffix: str, damage: str) -> None:
    path = write(tmp_path, lines())
    read_glove(path)
    (cache,) = tmp_path.glob(f"*{suffix}")
    content = cache.read_bytes()
    cache.unlink()
    if damage != "gone":
        cache.write_bytes({"cut": content[:-3], "empty": b"", "garbage": b"x" * len(content)}[damage])
    for _ in range(2):
        words, vectors = read_glove(path)
        assert words == WORDS
        np.testing.assert_array_equal(vectors, VECTORS)


def test_a_folder_without_write_permission_sends_the_cache_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shared").mkdir()
    path = write(tmp_path / "shared", lines())
    monkeypatch.setattr(os, "access", lambda *_: False)  # permission bits do not bind root, as which tests may run
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    read_glove(path, cache_dir=tmp_path / "own")
    assert len(list((tmp_path / "own").iterdir())) == 2
    read_glove(path)
    assert len(list((tmp_path / "xdg" / "cpnet").iterdir())) == 2
    assert list(path.parent.iterdir()) == [path]
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot cache the word vectors"):
        read_glove(path, cache_dir=tmp_path / "file" / "below")
