from __future__ import annotations

from pathlib import Path

import pytest
import torch

from cpnet.data.vocabulary import Vocabulary, Words, words_of
from cpnet.errors import DataError
from cpnet.options import WordOptions


@pytest.fixture
def glove(tmp_path: Path) -> Path:
    path = tmp_path / "glove.txt"
    path.write_text("door 1 2 3\na 4 5 6\nopens 7 8 9\nperson 1 0 1\nunused 0 0 1\n")
    return path


def test_rows_are_padding_unknown_and_the_words_in_alphabetical_order(glove: Path) -> None:
    vocabulary = Vocabulary.build(["A person opens", "the door"], glove=glove, dim=3)
    assert vocabulary.words == ("", "<unk>", "a", "door", "opens", "person")
    expected = [[0, 0, 0], [0, 0, 0], [4, 5, 6], [1, 2, 3], [7, 8, 9], [1, 0, 1]]
    torch.testing.assert_close(vocabulary.vectors, torch.tensor(expected, dtype=torch.float32), rtol=0, atol=0)
    assert Vocabulary.build(["door the", "opens PERSON a"], glove=glove, dim=3).words == vocabulary.words
    assert Vocabulary.build(["nowhere"], glove=glove, dim=3).words == ("", "<unk>")


def test_unknown_words_are_row_1_and_long_queries_are_cut(glove: Path) -> None:
    vocabulary = Vocabulary.build(["a person opens the door"], glove=glove, dim=3)
    assert vocabulary.rows(words_of("The person opens a Door.", max_words=10)) == [1, 5, 4, 2, 3, 1]
    assert vocabulary.rows(words_of("The person opens a Door.", max_words=2)) == [1, 5]
    assert vocabulary.rows(words_of("<unk>", max_words=10)) == [1, 1, 1]
    with pytest.raises(DataError, match="query ' ' holds no word"):
        vocabulary.rows(words_of(" ", max_words=10))


def test_coverage_counts_cut_queries_and_unknown_tokens(glove: Path) -> None:
    vocabulary = Vocabulary.build(["a person opens the door"], glove=glove, dim=3)
    queries = ["the person opens the fridge", "a door", "the door opens"]
    assert vocabulary.describe_coverage(queries, max_words=3) == (
        "3 queries, 1 cut, longest 5 words; 4 of 10 tokens unknown, 2 distinct: the (3), fridge (1)"
    )


def test_vocabulary_survives_a_checkpoint(glove: Path, tmp_path: Path) -> None:
    vocabulary = Vocabulary.build(["a person opens the door"], glove=glove, dim=3)
    torch.save(vocabulary.state_dict(), tmp_path / "checkpoint.pt")
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    restored = Vocabulary.from_state(state)
    assert restored.words == vocabulary.words
    assert torch.equal(restored.vectors, vocabulary.vectors)
    with pytest.raises(DataError, match=r"got \['words'\]"):
        Vocabulary.from_state({"words": state["words"]})
    with pytest.raises(DataError, match=r"6 words do not fit vectors of \(5, 3\)"):
        Vocabulary.from_state({"words": state["words"], "vectors": state["vectors"][:-1]})
    with pytest.raises(DataError, match="distinct and begin with"):
        Vocabulary.from_state({"words": state["words"][1:], "vectors": state["vectors"][1:]})


def test_extending_appends_and_keeps_the_existing_rows(glove: Path) -> None:
    vocabulary = Vocabulary.build(["opens"], glove=glove, dim=3)
    extended = vocabulary.extend(["a door opens", "nowhere"], glove=glove)
    assert extended.words == ("", "<unk>", "opens", "a", "door")
    assert extended.vectors[2:].tolist() == [[7, 8, 9], [4, 5, 6], [1, 2, 3]]
    assert vocabulary.words == ("", "<unk>", "opens")
    assert extended.extend(["a door"], glove=glove).words == extended.words
    assert words(glove, known=vocabulary).vocabulary(["a door opens"]).words == extended.words
    assert words(glove.with_name("absent.txt"), known=vocabulary).vocabulary(["a door opens"]) is vocabulary
    assert extended.unknown("A dax, a wug: DAX!") == ("dax", "wug")
    glove.write_text("window 1 2 3 4\n")
    with pytest.raises(DataError, match="vectors 4 wide, not 3"):
        vocabulary.extend(["window"], glove=glove)


def words(path: Path, subset: Path | None = None, known: Vocabulary | None = None) -> Words:
    options = WordOptions(path=str(path), subset=str(subset) if subset else None, dim=3)
    return Words(options=options, max_words=9, known=known)


def test_subset_of_the_vectors_is_used_where_the_whole_file_is_absent(glove: Path, tmp_path: Path) -> None:
    absent = tmp_path / "absent.txt"
    assert words(glove, absent).path() == glove
    assert words(absent, glove).path() == glove
    assert words(absent, absent).path() == words(absent).path() == absent
    assert words(absent, glove).vocabulary(["a door"]).words == ("", "<unk>", "a", "door")
    with pytest.raises(DataError, match=r"no file of word vectors at .*absent\.txt"):
        words(absent).vocabulary(["a door"])
