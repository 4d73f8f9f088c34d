"""Convolutions that end at the end of a sequence. Oracle: the loop over each sequence alone."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

import oracles
from cpnet.models.layers.convolution import DepthwiseConv1d, TimeConv1d
from models.pairs import padded, randomised

CONVOLUTIONS = {
    **{f"time, k={k}, stride={s}": (TimeConv1d(3, k, stride=s), s) for k in (1, 3, 15) for s in (1, 2)},
    **{f"depthwise, k={k}": (DepthwiseConv1d(3, k), 1) for k in (1, 3, 15)},
}


@pytest.mark.parametrize(("convolution", "stride"), CONVOLUTIONS.values(), ids=CONVOLUTIONS)
def test_convolution_is_the_loop(convolution: nn.Module, stride: int) -> None:
    randomised(convolution.to(torch.get_default_device()))
    x = [torch.randn(length, 3, dtype=torch.float64) for length in (1, 4, 7)]
    for more in (0, 3):
        answers = convolution(*padded(x, more=more))
        assert answers.shape[1] == math.ceil((7 + more) / stride)
        for answer, alone in zip(answers, x, strict=True):
            expected = oracles.convolution(oracles.array(alone), oracles.weights(convolution), stride=stride)
            np.testing.assert_allclose(oracles.array(answer[: len(expected)]), expected, atol=1e-9)


def test_few_channels_are_convolved_in_float32_under_autocast() -> None:
    convolution = randomised(DepthwiseConv1d(16, 15)).float()
    x, mask = torch.randn(2, 64, 16), torch.ones(2, 64, dtype=torch.bool)
    with torch.autocast(x.device.type, torch.bfloat16, enabled=x.device.type == "cpu"):
        ours = convolution(x, mask)
    expected = oracles.convolution(oracles.array(x[0]), oracles.weights(convolution))
    np.testing.assert_allclose(oracles.array(ours[0].float()), expected, rtol=2**-8, atol=1e-5)  # rounded once


@pytest.mark.parametrize("kernel_size", [3, 15])
def test_new_filters_are_drawn_as_in_torch(kernel_size: int) -> None:
    torch.manual_seed(0)
    ours = DepthwiseConv1d(4000, kernel_size).weight
    theirs = nn.Conv1d(4000, 4000, kernel_size, groups=4000).weight
    assert ours.abs().max() <= kernel_size**-0.5
    assert ours.std().item() == pytest.approx(theirs.std().item(), rel=0.02)
