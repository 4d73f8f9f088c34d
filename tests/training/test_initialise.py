"""Weights of another run. Oracle: words and rows looked up by hand."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
from torch import nn

from cpnet.data.vocabulary import Vocabulary
from cpnet.errors import ConfigError
from cpnet.runs.checkpoint import Checkpoint
from cpnet.training.initialise import initialise


def vocabulary(*words: str) -> Vocabulary:
    return Vocabulary(("", "<unk>", *words), torch.zeros(2 + len(words), 1))


def model(words: int, width: int) -> nn.ModuleDict:
    return nn.ModuleDict({"words": nn.Embedding(words, 2), "video": nn.Linear(width, 3), "same": nn.Linear(3, 1)})


def test_weights_are_taken_by_name_shape_and_word(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    own, other = model(5, 7), nn.ModuleDict({**model(5, 4), "head": nn.Linear(1, 1)})
    before, theirs = ({name: each.clone() for name, each in m.state_dict().items()} for m in (own, other))
    known = vocabulary("cat", "door", "open")
    source = Checkpoint(path=Path("a.ckpt"), config={}, vocabulary=known, weights=theirs, epoch=0)
    initialise(own, vocabulary("apple", "cat", "open"), source)
    table, old = own.state_dict()["words.weight"], theirs["words.weight"]
    assert torch.equal(table, torch.stack([old[0], old[1], before["words.weight"][2], old[2], old[4]]))
    for name in ("video.bias", "same.weight", "same.bias"):
        assert torch.equal(own.state_dict()[name], theirs[name])
    assert torch.equal(own.state_dict()["video.weight"], before["video.weight"])
    assert caplog.messages[0].splitlines() == [
        "init_from=a.ckpt: took 4 of 5 weights; not taken:",
        "  head.weight 1x1: not in this model",
        "  head.bias 1: not in this model",
        "  words.weight: the rows of 1 new words",
        "  video.weight 3x7: 3x4 in the checkpoint",
    ]


def test_checkpoint_of_another_model_is_refused() -> None:
    source = Checkpoint(path=Path("a.ckpt"), config={}, vocabulary=vocabulary(), weights={"x": torch.ones(1)}, epoch=0)
    with pytest.raises(ConfigError, match=r"^init_from=a\.ckpt: no weight fits this model\n  x 1: not in this model"):
        initialise(model(2, 3), vocabulary(), source)
