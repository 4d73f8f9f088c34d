"""The example that is exported needs neither cpnet nor torch, and prepares the input exactly as cpnet does."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cpnet.data.sampling import Interpolate, MeanPool, Pick, Sampling
from cpnet.data.vocabulary import Vocabulary
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
        expected = VOCABULARY.encode(sentence, max_words=max_words)
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
    sampled, number = example.sample(rows, policy.__name__, clips)
    assert (sampled.dtype, number) == (np.float32, int(real))
    np.testing.assert_allclose(sampled, expected[0].float().numpy(), rtol=1e-5, atol=1e-5)


def test_example_runs_without_torch_and_cpnet() -> None:
    path = example.__file__
    code = f"import runpy, sys; runpy.run_path({path!r}); print({{'cpnet', 'torch'}} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
