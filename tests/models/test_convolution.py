"""Convolutions that end where the sequence ends, against the loop."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

import oracles
from cpnet.models.convolution import DepthwiseConv1d, TimeConv1d
from models.pairs import padded, randomised


def assert_is_the_loop(convolution: nn.Module, *, stride: int = 1) -> None:
    x = [torch.randn(length, 3, dtype=torch.float64) for length in (1, 4, 7)]
    for more in (0, 3):
        answers = convolution(*padded(x, more=more))
        assert answers.shape[1] == math.ceil((7 + more) / stride)
        for answer, alone in zip(answers, x, strict=True):
            expected = oracles.convolution(oracles.array(alone), oracles.weights(convolution), stride=stride)
            np.testing.assert_allclose(oracles.array(answer[: len(expected)]), expected, atol=1e-9)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel_size", [1, 3, 15])
def test_convolution_is_the_loop(kernel_size: int, stride: int) -> None:
    assert_is_the_loop(randomised(TimeConv1d(3, kernel_size, stride=stride)), stride=stride)


@pytest.mark.parametrize("kernel_size", [1, 3, 15])
def test_depthwise_convolution_is_the_loop(kernel_size: int) -> None:
    assert_is_the_loop(randomised(DepthwiseConv1d(3, kernel_size)))


@pytest.mark.parametrize("kernel_size", [3, 15])
def test_a_new_filter_is_drawn_as_torch_draws_them(kernel_size: int) -> None:
    torch.manual_seed(0)
    ours = DepthwiseConv1d(4000, kernel_size).weight
    theirs = nn.Conv1d(4000, 4000, kernel_size, groups=4000).weight
    assert ours.abs().max() <= kernel_size**-0.5
    assert ours.std().item() == pytest.approx(theirs.std().item(), rel=0.02)
