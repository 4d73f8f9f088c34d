"""The feature encoder: QANet's block in VSLNet's simpler form (CPNet, "Feature Encoding")."""

from __future__ import annotations

import math
from typing import Literal, TypedDict

import torch
from torch import Tensor, nn

from cpnet.models.convolution import DepthwiseConv1d
from cpnet.models.dropout import Dropout
from cpnet.models.kernels import Linear, attention, layer_norm, relu, stored


class EncoderOptions(TypedDict, total=False):
    """Keys under ``model.encoder``; a key left out takes the default of :class:`FeatureEncoder`."""

    kernel_size: int
    conv_layers: int
    num_heads: int


def sinusoidal_positions(length: int, width: int) -> Tensor:
    """Sines in the even channels, cosines in the odd, wavelengths from 2 pi to 10,000 * 2 pi (Vaswani et al. 2017).

    Shape: -> (length, width) float32

    >>> sinusoidal_positions(2, 4)[0].tolist()
    [0.0, 1.0, 0.0, 1.0]
    """
    position = torch.arange(length, dtype=torch.float64).unsqueeze(1)
    rate = torch.exp(torch.arange(0, width, 2, dtype=torch.float64) * (-math.log(10_000.0) / width))
    angles = position * rate
    return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(1)[:, :width].float()


class PositionalEncoding(nn.Module):
    """Adds to each time step a vector that tells where it stands.

    Args:
        width: D
        kind: ``sinusoid`` takes sequences of any length, ``learned`` up to ``max_length`` steps
        max_length: longest sequence that ``learned`` has vectors for

    Shape: (B, T, D) -> (B, T, D)
    """

    table: Tensor

    def __init__(self, width: int, *, kind: Literal["sinusoid", "learned"], max_length: int) -> None:
        super().__init__()
        self.kind = kind
        if kind == "learned":
            self.learned = nn.Parameter(torch.randn(max_length, width) * 0.02)
        else:
            # A cache of what the formula gives, and no part of the checkpoint.
            self.register_buffer("table", sinusoidal_positions(max_length, width), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Add the positions; a sequence longer than ``learned`` serves is a ``ValueError``."""
        steps = x.shape[1]
        if self.kind == "learned":
            if steps > len(self.learned):
                raise ValueError(
                    f"a sequence of {steps} steps, but model.position=learned has {len(self.learned)} positions: "
                    "raise model.max_length or take model.position=sinusoid"
                )
            return x + self.learned[:steps]
        # Longer sequences do not grow the buffer: processes that train together must hold equal ones.
        table = self.table if steps <= len(self.table) else sinusoidal_positions(steps, x.shape[2]).to(self.table)
        return x + table[:steps].to(x.dtype)


class ConvBlock(nn.Module):
    """[LayerNorm, depthwise convolution, pointwise convolution, ReLU, dropout, + input].

    Shape: x (B, T, D), mask (B, T) bool, True = real -> (B, T, D)
    """

    def __init__(self, width: int, *, kernel_size: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.depthwise = DepthwiseConv1d(width, kernel_size)
        self.pointwise = Linear(width, width)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Add to each step what its neighbourhood says; padded steps say nothing."""
        local: Tensor = self.dropout(relu(self.pointwise(self.depthwise(layer_norm(x, self.norm), mask))))
        return x + local


class SelfAttention(nn.Module):
    """[LayerNorm, multi-head self-attention among the real time steps, dropout, + input].

    Paper silent: as in VSLNet, no projection of the joined heads of its own; the ``Linear`` that follows does it.

    Shape: x (B, T, D), mask (B, T) bool, True = real -> (B, T, D)
    """

    def __init__(self, width: int, *, num_heads: int, dropout: float) -> None:
        super().__init__()
        if num_heads < 1 or width % num_heads:
            raise ValueError(
                f"model.hidden_dim must be a multiple of model.encoder.num_heads; got {width} and {num_heads}"
            )
        self.num_heads = num_heads
        self.norm = nn.LayerNorm(width)
        self.query_key_value = Linear(width, 3 * width)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Add to each step the mean of the real steps, weighted by each head."""
        heads = self.query_key_value(layer_norm(x, self.norm)).unflatten(-1, (3, self.num_heads, -1))
        q, k, v = heads.permute(2, 0, 3, 1, 4)  # (B, H, T, D/H) each
        mixed = attention(q, k, v, mask[:, None, None, :])
        joined: Tensor = self.dropout(mixed.transpose(1, 2).flatten(2))
        return x + joined


class FeedForward(nn.Module):
    """[LayerNorm, linear layer, dropout, + input].

    Shape: (B, T, D) -> (B, T, D)
    """

    def __init__(self, width: int, *, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.linear = Linear(width, width)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Add to each step a linear map of itself."""
        fed: Tensor = self.dropout(self.linear(layer_norm(x, self.norm)))
        return x + fed


class FeatureEncoder(nn.Module):
    """Positions, a stack of separable convolutions, self-attention, and a feed-forward layer.

    Args:
        width: D
        dropout: probability after each convolution, the attention and the feed-forward layer
        position: ``sinusoid`` or ``learned`` positions
        max_length: longest sequence of ``learned`` positions
        kernel_size: width of the depthwise convolutions, odd
        conv_layers: how many of them
        num_heads: H, a divisor of ``width``

    Shape: x (B, T, D), mask (B, T) bool, True = real -> (B, T, D)

    Raises:
        ValueError: for a value that cannot work; the message names the key under ``model``

    >>> encoder = FeatureEncoder(16, dropout=0.0, num_heads=2)
    >>> encoder(torch.zeros(1, 5, 16), torch.ones(1, 5, dtype=torch.bool)).shape
    torch.Size([1, 5, 16])
    """

    def __init__(
        self,
        width: int,
        *,
        dropout: float,
        position: Literal["sinusoid", "learned"] = "sinusoid",
        max_length: int = 128,
        kernel_size: int = 15,
        conv_layers: int = 4,
        num_heads: int = 8,
    ) -> None:
        super().__init__()
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f"model.encoder.kernel_size must be odd and positive; got {kernel_size}")
        if conv_layers < 0:
            raise ValueError(f"model.encoder.conv_layers must be 0 or more; got {conv_layers}")
        self.position = PositionalEncoding(width, kind=position, max_length=max_length)
        self.convolutions = nn.ModuleList(
            ConvBlock(width, kernel_size=kernel_size, dropout=dropout) for _ in range(conv_layers)
        )
        self.attention = SelfAttention(width, num_heads=num_heads, dropout=dropout)
        self.feedforward = FeedForward(width, dropout=dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Encode each sequence by itself, whatever its padding holds."""
        x = self.position(x)
        for block in self.convolutions:
            x = stored(block(x, mask))
        encoded: Tensor = self.feedforward(self.attention(x, mask))
        return encoded
