"""Gradients of CPNet against a second implementation, written from the equations."""

from __future__ import annotations

import sys
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from cpnet.batch import UNKNOWN, GroundingBatch
from cpnet.models import CPNet
from cpnet.training.losses import GroundingLoss
from models.pairs import VIDEO_DIM, WORD_DIM, WORDS, batch, options_of, pair, randomised

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))  # scripts in no package
from reference import Reference, weights_of

WIDTH = 16


def models(*, scale: bool) -> tuple[CPNet, Reference]:
    torch.manual_seed(0)
    vectors = torch.randn(WORDS, WORD_DIM)
    ours = CPNet(VIDEO_DIM, vectors, options_of(hidden_dim=WIDTH, cam={"scale": scale}))
    theirs = Reference(video_dim=VIDEO_DIM, word_vectors=vectors, width=WIDTH, scale=scale)
    ours = randomised(ours, dtype=torch.float32)
    theirs.load_state_dict(weights_of(ours, theirs))
    return ours, theirs.eval()


def pairs(steps: int) -> GroundingBatch:
    one, other, third = (
        pair(clips, words, dtype=torch.float32) for clips, words in ((steps, 4), (steps - 4, 1), (1, 6))
    )
    # Garbage of the size of real features: the reference masks nothing larger.
    return batch([replace(one, query=[UNKNOWN, 5, UNKNOWN, 3]), other, third], garbage=1.0)


def loss(model: CPNet | Reference, asked: GroundingBatch) -> Tensor:
    return GroundingLoss()(model(asked), asked)["loss"]


@pytest.mark.parametrize("scale", [False, True])
@pytest.mark.parametrize("steps", [11, 12])
def test_gradients_are_those_of_the_reference(steps: int, scale: bool) -> None:
    ours, theirs = models(scale=scale)
    gradients = deepcopy(ours)
    for holder, gradient in zip(
        gradients.parameters(), torch.autograd.grad(loss(ours, pairs(steps)), list(ours.parameters())), strict=True
    ):
        holder.data = gradient
    found = weights_of(gradients, theirs)
    names, parameters = zip(*theirs.named_parameters(), strict=True)
    assert set(names) == set(found)
    for name, expected in zip(names, torch.autograd.grad(loss(theirs, pairs(steps)), parameters), strict=True):
        torch.testing.assert_close(found[name], expected, atol=1e-4, rtol=1e-4)
        # The bias of phi adds the same to all scores of a row.
        assert expected.abs().max() > 1e-6 or name.endswith("phi.bias"), name
