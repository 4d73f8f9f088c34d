from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cpnet.data.moment import DataError
from cpnet.data.vocabulary import Vocabulary, tokenize

REAL_DATA = Path(os.environ.get("CPNET_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))


@pytest.fixture
def glove(tmp_path: Path) -> Path:
    path = tmp_path / "glove.txt"
    path.write_text("door 1 2 3\na 4 5 6\nopens 7 8 9\nperson 1 0 1\nunused 0 0 1\n")
    return path


@pytest.mark.parametrize(
    ("query", "tokens"),
    [
        (
            "The man doesn't open John's 2.5-litre fridge.",
            "the man does n't open john 's 2.5 - litre fridge .",
        ),
        ("They can\u2019t, won\u2018t; I\u02bcm he\uff07ll", "they ca n't , wo n't ; i 'm he 'll"),
        ("you're we've she'd DON'T", "you 're we 've she 'd do n't"),
        ("the man 's hat does n't fit", "the man 's hat does n't fit"),
        ("the boys' 'salt' isn'tx", "the boys ' ' salt ' isn ' tx"),
        ("1,000 at 10:30, 3rd 5kg 2.5kg.", "1,000 at 10:30 , 3rd 5kg 2.5 kg ."),
        ("caf\u00e9 cafe\u0301 \u4eba", "caf\u00e9 caf\u00e9 \u4eba"),
        ("snake_case (a/b)!?", "snake _ case ( a / b ) ! ?"),
        ("  \t\n", ""),
    ],
)
def test_tokens_by_hand(query: str, tokens: str) -> None:
    assert tokenize(query) == tokens.split()


@given(st.text())
def test_tokens_keep_every_character_but_spaces(query: str) -> None:
    plain = "".join(ch for ch in query if ch.isascii())
    assert "".join(tokenize(plain)) == "".join(plain.lower().split())
    assert all(token and not any(ch.isspace() for ch in token) for token in tokenize(query))


def test_rows_follow_the_alphabet_behind_padding_and_unknown(glove: Path) -> None:
    vocabulary = Vocabulary.build(["A person opens", "the door"], glove=glove)
    assert vocabulary.words == ("", "<unk>", "a", "door", "opens", "person")
    expected = [[0, 0, 0], [0, 0, 0], [4, 5, 6], [1, 2, 3], [7, 8, 9], [1, 0, 1]]
    torch.testing.assert_close(vocabulary.vectors, torch.tensor(expected, dtype=torch.float32), rtol=0, atol=0)
    assert Vocabulary.build(["door the", "opens PERSON a"], glove=glove).words == vocabulary.words


def test_unknown_words_are_row_1_and_long_queries_are_cut(glove: Path) -> None:
    vocabulary = Vocabulary.build(["a person opens the door"], glove=glove)
    assert vocabulary.encode("The person opens a Door.", max_words=10) == [1, 5, 4, 2, 3, 1]
    assert vocabulary.encode("The person opens a Door.", max_words=2) == [1, 5]
    assert vocabulary.encode("<unk>", max_words=10) == [1, 1, 1]
    with pytest.raises(DataError, match="query ' ' holds no word"):
        vocabulary.encode(" ", max_words=10)


def test_coverage_by_hand(glove: Path) -> None:
    vocabulary = Vocabulary.build(["a person opens the door"], glove=glove)
    coverage = vocabulary.coverage(["the person opens the fridge", "a door", "the door opens"], max_words=3)
    assert (coverage.queries, coverage.cut, coverage.longest) == (3, 1, 5)
    assert (coverage.tokens, coverage.unknown, coverage.unknown_words) == (10, 4, 2)
    assert coverage.frequent == (("the", 3), ("fridge", 1))
    assert coverage.describe() == (
        "3 queries, 1 cut, longest 5 words; 4 of 10 tokens unknown (40.00%), 2 distinct: the (3), fridge (1)"
    )
    assert vocabulary.coverage([], max_words=3).describe().endswith("0 of 0 tokens unknown (0.00%), 0 distinct")


def test_a_checkpoint_gives_the_vocabulary_back(glove: Path, tmp_path: Path) -> None:
    vocabulary = Vocabulary.build(["a person opens the door"], glove=glove)
    torch.save(vocabulary.state_dict(), tmp_path / "checkpoint.pt")
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    restored = Vocabulary.from_state(state)
    assert restored.words == vocabulary.words
    assert torch.equal(restored.vectors, vocabulary.vectors)
    with pytest.raises(DataError, match=r"not \['words'\]"):
        Vocabulary.from_state({"words": state["words"]})
    with pytest.raises(DataError, match=r"6 words do not fit vectors of \(5, 3\)"):
        Vocabulary.from_state({"words": state["words"], "vectors": state["vectors"][:-1]})
    with pytest.raises(DataError, match="distinct and begin with"):
        Vocabulary.from_state({"words": state["words"][1:], "vectors": state["vectors"][1:]})


def test_extending_appends_and_keeps_the_rows_there_are(glove: Path) -> None:
    vocabulary = Vocabulary.build(["opens"], glove=glove)
    extended = vocabulary.extend(["a door opens", "nowhere"], glove=glove)
    assert extended.words == ("", "<unk>", "opens", "a", "door")
    assert extended.vectors[2:].tolist() == [[7, 8, 9], [4, 5, 6], [1, 2, 3]]
    assert vocabulary.words == ("", "<unk>", "opens")
    assert extended.extend(["a door"], glove=glove).words == extended.words
    glove.write_text("window 1 2 3 4\n")
    with pytest.raises(DataError, match="vectors 4 wide, not 3"):
        vocabulary.extend(["window"], glove=glove)


def test_without_a_file_a_word_has_the_same_vector_everywhere() -> None:
    first = Vocabulary.build(["open a door"], glove=None, dim=64)
    second = Vocabulary.build(["close the door"], glove=None, dim=64)
    assert torch.equal(
        first.vectors[first.encode("door", max_words=1)], second.vectors[second.encode("door", max_words=1)]
    )
    assert len({tuple(vector) for vector in first.vectors[2:].tolist()}) == 3
    assert first.extend(["the"], glove=None).words[-1] == "the"
    with pytest.raises(DataError, match="width must be given"):
        Vocabulary.build(["open a door"], glove=None)


def test_queries_without_any_known_word_leave_only_the_special_rows(glove: Path) -> None:
    vocabulary = Vocabulary.build(["nowhere"], glove=glove, dim=3)
    assert vocabulary.words == ("", "<unk>")
    assert vocabulary.vectors.shape == (2, 3)


def test_charades_sta_is_covered(tmp_path: Path) -> None:
    text, annotations = REAL_DATA / "glove" / "glove.6B.300d.charades.txt", REAL_DATA / "charades_sta"
    if not (text.exists() and annotations.exists()):
        pytest.skip(f"no Charades-STA annotations and GloVe vectors in {REAL_DATA}")
    copy = Path(shutil.copy(text, tmp_path))  # the cache goes beside it
    queries = [
        line.partition("##")[2]
        for split in ("train", "test")
        for line in (annotations / f"charades_sta_{split}.txt").read_text().splitlines()
    ]
    vocabulary = Vocabulary.build(queries, glove=copy, dim=300)
    coverage = vocabulary.coverage(queries, max_words=15)
    assert coverage.queries == 12408 + 3720
    # Nearly all of the unknown ones are slips of the pen, each once: "opend", "persno".
    assert coverage.unknown / coverage.tokens < 0.0015, coverage.describe()
    assert coverage.cut == 0, coverage.describe()
