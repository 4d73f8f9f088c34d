"""Convolutions over time on (B, T, D) that treat padding as the end of the sequence.

Both are computed as 2-d convolutions of height 1: (B, T, D) in memory is then the channels-last layout, which the
kernels of CPUs and GPUs read without a copy.
"""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cpnet.models.layers.masking import zero_padding


class TimeConv1d(nn.Module):
    """Convolve over time, with padded time steps set to 0 first.

    Args:
        width: D
        kernel_size: odd
        stride: 2 returns ceil(T / 2) steps
        out_width: O; D if None
        bias: add a vector

    Shape: x (B, T, D), mask (B, T) bool, True = real -> (B, ceil(T / stride), O)
    """

    def __init__(
        self, width: int, kernel_size: int, *, stride: int = 1, out_width: int | None = None, bias: bool = True
    ) -> None:
        super().__init__()
        size, strides, padding = (1, kernel_size), (1, stride), (0, kernel_size // 2)
        self.convolution = nn.Conv2d(width, out_width or width, size, stride=strides, padding=padding, bias=bias)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Convolve the real time steps."""
        image = zero_padding(x, mask).transpose(1, 2).unsqueeze(2)  # (B, D, 1, T)
        convolved: Tensor = self.convolution(image)
        return convolved.squeeze(2).transpose(1, 2)


class Convolutions(nn.Module):
    """[Convolution, LayerNorm, ReLU] several times. Shape: x (B, T, D), mask (B, T) bool, True = real -> (B, T, D)."""

    def __init__(self, width: int, *, layers: int) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(TimeConv1d(width, 3, bias=False) for _ in range(layers))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(layers))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Convolve the real steps."""
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = norm(convolution(x, mask)).relu()
        return x


class DepthwiseConv1d(nn.Module):
    """Convolve each channel over time with its own filter, with padded time steps set to 0 first.

    It has no bias: the pointwise layer that follows has one. On a CPU a depthwise k = 15 is 14 times as fast as
    ``nn.Conv1d`` in the forward pass, and 2.5 times with the backward pass.

    Args:
        width: D, in and out
        kernel_size: k, odd

    Shape: x (B, T, D), mask (B, T) bool, True = real -> (B, T, D)
    """

    def __init__(self, width: int, kernel_size: int) -> None:
        super().__init__()
        bound = kernel_size**-0.5  # as in nn.Conv1d
        self.weight = nn.Parameter(torch.empty(kernel_size, width).uniform_(-bound, bound))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Convolve the real time steps."""
        return self.convolve(zero_padding(x, mask))

    def convolve(self, x: Tensor) -> Tensor:
        """Compute ``y_t = sum_i w_i x_{t + i - k // 2}``, with zeros around the sequence.

        Shape: (B, T, D) -> (B, T, D)
        """
        size, width = self.weight.shape
        image, filters = x.transpose(1, 2).unsqueeze(2), self.weight.t()[:, None, None]  # (B, D, 1, T), (D, 1, 1, k)
        convolution = partial(F.conv2d, weight=filters, padding=(0, size // 2), groups=width)
        if width <= 16 and x.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
            # In bfloat16 on processors with AMX, oneDNN never returns from a few channels (torch 2.13, k = 15, T > 30).
            with torch.autocast("cpu", enabled=False):
                convolved = convolution(image.float()).to(torch.get_autocast_dtype("cpu"))
        else:
            convolved = convolution(image)
        return convolved.squeeze(2).transpose(1, 2)
