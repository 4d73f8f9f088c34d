"""The exported example prepares the input exactly as cpnet does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cpnet.data.sampling import Interpolate, MeanPool, Pick, Sampling
from cpnet.data.vocabulary import Vocabulary, words_of
from cpnet.errors import DataError
from cpnet.exporting import example

WORDS = ("", "<unk>", "'s", ".", "2.5", "_", "ca", "caf\u00e9", "door", "n't", "open")
VOCABULARY = Vocabulary(WORDS, torch.zeros(len(WORDS), 2))
SENTENCES = st.text() | st.lists(
    st.sampled_from(["The", "can't", "cafe\u0301", "DOOR", "2.5", "John\u2019s", "n't", "_."])
).map(" ".join)


@given(sentence=SENTENCES, max_words=st.integers(1, 6))
def test_sentences_are_encoded_as_by_the_vocabulary(sentence: str, max_words: int) -> None:
    try:
        expected = VOCABULARY.rows(words_of(sentence, max_words=max_words))
    except DataError:
        with pytest.raises(ValueError, match="no word in"):
            example.encode(sentence, WORDS, max_words)
    else:
        assert example.encode(sentence, WORDS, max_words) == expected


@pytest.mark.parametrize("policy", [Pick, MeanPool, Interpolate])
@given(count=st.integers(1, 400), clips=st.integers(1, 60), half=st.booleans())
def test_rows_are_sampled_as_by_the_policy(policy: type[Sampling], count: int, clips: int, half: bool) -> None:
    rows = np.random.default_rng(count).normal(size=(count, 2)).astype(np.float16 if half else np.float32)
    table = torch.from_numpy(np.concatenate([rows, np.zeros_like(rows[:1])]))
    expected, real = policy(clips=clips)(table, torch.tensor([0]), torch.tensor([count]))
    sampled, number = example.sample(rows.astype(np.float32), policy.__name__, clips)
    assert (sampled.dtype, number) == (np.float32, int(real))
    np.testing.assert_allclose(sampled, expected[0].float().numpy(), rtol=1e-5, atol=1e-5)


ROWS = np.zeros((3, 2))
ABOUT = {"dim": 2, "sampling": "Pick", "clips": 4, "words": WORDS, "max_words": 3, "longest_sec": 60.0}


@pytest.mark.parametrize(
    ("rows", "duration_sec", "sentence", "message"),
    [
        *((np.zeros(shape), 9.0, "a", r"features have shape .*, not \(rows, 2\)") for shape in ((2,), (0, 2), (3, 4))),
        *((ROWS + value, 9.0, "a", "NaN, infinite or too large") for value in (np.nan, np.inf, 1e39)),
        *((ROWS, duration_sec, "a", "duration must be positive") for duration_sec in (0.0, np.nan, np.inf)),
        (ROWS, 9.0, " \n", "no word in"),
    ],
)
def test_wrong_input_is_refused(rows: Any, duration_sec: float, sentence: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "model.json").write_text(json.dumps(ABOUT))
    with pytest.raises(ValueError, match=message):
        example.ground(tmp_path, rows, duration_sec, [sentence])


def test_video_longer_than_those_of_training_is_warned_about(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "model.json").write_text(json.dumps(ABOUT))
    monkeypatch.setattr(example, "load", lambda folder: lambda inputs: np.zeros((1, 1, 2)))
    for duration_sec, warned in ((60.0, False), (60.5, True)):
        example.ground(tmp_path, ROWS, duration_sec, ["open"])
        assert ("longer than the 60 s" in capsys.readouterr().err) is warned
