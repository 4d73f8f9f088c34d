"""Weights of another run; smoke/test_init_from.py compares them with those of the checkpoint."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from cpnet.data.vocabulary import Vocabulary
from cpnet.errors import ConfigError
from cpnet.runs.checkpoint import Checkpoint
from cpnet.training.initialise import initialise


def test_checkpoint_that_does_not_fit(caplog: pytest.LogCaptureFixture) -> None:
    vocabulary = Vocabulary(("", "<unk>", "cat"), torch.eye(3))
    source = Checkpoint(path=Path("a.ckpt"), config={}, vocabulary=vocabulary, weights={"bias": torch.ones(3)}, epoch=0)
    with pytest.raises(ConfigError, match=r"^init_from=a\.ckpt: no weight fits(.*\n)*  bias: 3 in the checkpoint, 2"):
        initialise(nn.Linear(1, 2), source, vocabulary)
    initialise(nn.Linear(1, 3), source, vocabulary)
    assert not caplog.text
    initialise(nn.Linear(1, 3), source, Vocabulary(("", "<unk>", "dog", "cat"), torch.eye(4, 3)))
    assert "the same words have other vectors in the checkpoint" in caplog.text


def test_table_of_other_words_is_not_taken() -> None:
    words = Vocabulary(("", "<unk>", "cat"), torch.eye(3)), Vocabulary(("", "<unk>", "dog"), torch.eye(3))
    weights = {"0.weight": torch.ones(3, 2), "1.weight": torch.ones(4, 2)}  # of words, and of positions
    source = Checkpoint(path=Path("a.ckpt"), config={}, vocabulary=words[0], weights=weights, epoch=0)
    for vocabulary, taken in zip(words, (True, False), strict=True):
        model = nn.Sequential(nn.Embedding(3, 2), nn.Embedding(4, 2))
        initialise(model, source, vocabulary)
        state = model.state_dict()
        assert torch.equal(state["0.weight"], weights["0.weight"]) is taken
        assert torch.equal(state["1.weight"], weights["1.weight"])
