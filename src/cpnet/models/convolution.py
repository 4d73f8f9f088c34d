"""Convolutions over time on (B, T, D), for which a sequence ends where its padding begins."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cpnet.models.kernels import depthwise
from cpnet.models.masking import zero_padding


class TimeConv1d(nn.Module):
    """A convolution over time on (B, T, D), with padded time steps zeroed first, as if the sequence ended there.

    Computed as a 2-d convolution of height 1: (B, T, D) in memory is then the channels-last layout, which the kernels
    of CPUs and GPUs read without a copy.

    Args:
        width: D, in and out
        kernel_size: odd
        stride: 2 gives ceil(T / 2) steps

    Shape: x (B, T, D), mask (B, T) bool, True = real -> (B, ceil(T / stride), D)
    """

    def __init__(self, width: int, kernel_size: int, *, stride: int = 1) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(width, width, (1, kernel_size), stride=(1, stride), padding=(0, kernel_size // 2))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Convolve the real time steps."""
        image = zero_padding(x, mask).transpose(1, 2).unsqueeze(2)  # (B, D, 1, T)
        convolved: Tensor = self.convolution(image)
        return convolved.squeeze(2).transpose(1, 2)


class DepthwiseConv1d(nn.Module):
    """A filter over time for each channel, with padding zeroed first; no bias, for a pointwise layer with one follows.

    Args:
        width: D, in and out
        kernel_size: k, odd

    Shape: x (B, T, D), mask (B, T) bool, True = real -> (B, T, D)
    """

    def __init__(self, width: int, kernel_size: int) -> None:
        super().__init__()
        bound = kernel_size**-0.5  # as nn.Conv1d's
        self.weight = nn.Parameter(torch.empty(kernel_size, width).uniform_(-bound, bound))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Convolve the real time steps."""
        return depthwise(zero_padding(x, mask), self.weight)
