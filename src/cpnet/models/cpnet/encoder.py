"""The feature encoder: QANet's block in VSLNet's simpler form (CPNet, "Feature Encoding")."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from cpnet.models.layers.attention import attention
from cpnet.models.layers.convolution import DepthwiseConv1d
from cpnet.models.layers.dropout import Dropout
from cpnet.options import EncodingOptions


class FeatureEncoder(nn.Module):
    """Positions, a stack of separable convolutions, self-attention, and a feed-forward layer.

    Shape: x (B, T, D), mask (B, T) bool, True = real -> (B, T, D)

    >>> encoder = FeatureEncoder(EncodingOptions(hidden_dim=16))
    >>> encoder(torch.zeros(1, 5, 16), torch.ones(1, 5, dtype=torch.bool)).shape
    torch.Size([1, 5, 16])
    """

    def __init__(self, options: EncodingOptions) -> None:
        super().__init__()
        width, dropout, encoder = options.hidden_dim, options.dropout, options.encoder
        self.position = PositionalEncoding(width, kind=options.position, max_length=options.max_length)
        self.convolutions = nn.ModuleList(
            ConvBlock(width, kernel_size=encoder.kernel_size, dropout=dropout) for _ in range(encoder.conv_layers)
        )
        self.attention = SelfAttention(width, num_heads=encoder.num_heads, dropout=dropout)
        self.feedforward = FeedForward(width, dropout=dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Encode each sequence; the content of its padding has no influence."""
        x = self.position(x)
        for block in self.convolutions:
            x = block(x, mask)
        x = self.attention(x, mask)
        encoded: Tensor = self.feedforward(x)
        return encoded


class PositionalEncoding(nn.Module):
    """Add to each time step a vector that encodes its position.

    Args:
        width: D
        kind: ``sinusoid`` takes sequences of any length, ``learned`` up to ``max_length`` steps
        max_length: longest sequence for which ``learned`` has vectors

    Shape: (B, T, D) -> (B, T, D)
    """

    table: Tensor

    def __init__(self, width: int, *, kind: str, max_length: int) -> None:
        super().__init__()
        self.kind = kind
        if kind == "learned":
            self.learned = nn.Parameter(torch.randn(max_length, width) * 0.02)
        else:
            # A cache of the formula, hence not in state_dict.
            self.register_buffer("table", sinusoidal_positions(max_length, width), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Add the positions.

        Raises:
            ValueError: the sequence is longer than the learned positions
        """
        steps = x.shape[1]
        if self.kind == "learned":
            if steps > len(self.learned):
                raise ValueError(
                    f"a sequence of {steps} steps, but model.position=learned has {len(self.learned)} positions: "
                    "raise model.max_length or set model.position=sinusoid"
                )
            return x + self.learned[:steps]
        # The buffer does not grow for longer sequences: it must be the same in all processes of a run.
        table = self.table if steps <= len(self.table) else sinusoidal_positions(steps, x.shape[2]).to(self.table)
        return x + table[:steps].to(x.dtype)


def sinusoidal_positions(length: int, width: int) -> Tensor:
    """Return sines in the even channels and cosines in the odd (Vaswani et al. 2017).

    The wavelengths grow from 2 pi to 10,000 * 2 pi.

    Shape: -> (length, width) float32

    >>> sinusoidal_positions(2, 4)[0].tolist()
    [0.0, 1.0, 0.0, 1.0]
    """
    position = torch.arange(length, dtype=torch.float64).unsqueeze(1)
    rate = torch.exp(torch.arange(0, width, 2, dtype=torch.float64) * (-math.log(10_000.0) / width))
    angles = position * rate
    return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(1)[:, :width].float()


class ConvBlock(nn.Module):
    """[LayerNorm, depthwise convolution, pointwise convolution, ReLU, dropout, + input].

    Shape: x (B, T, D), mask (B, T) bool, True = real -> (B, T, D)
    """

    def __init__(self, width: int, *, kernel_size: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.depthwise = DepthwiseConv1d(width, kernel_size)
        self.pointwise = nn.Linear(width, width)
        self.relu = nn.ReLU()
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Add to each step a function of its real neighbours."""
        local: Tensor = self.pointwise(self.depthwise(self.norm(x), mask))
        local = self.dropout(self.relu(local))
        return x + local


class SelfAttention(nn.Module):
    """[LayerNorm, multi-head self-attention among the real time steps, dropout, + input].

    Paper silent: as in VSLNet, the joined heads have no output projection; the layer of ``FeedForward`` is one.

    Shape: x (B, T, D), mask (B, T) bool, True = real -> (B, T, D)
    """

    def __init__(self, width: int, *, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Add to each step the heads' weighted means of the real steps."""
        heads = self.query_key_value(self.norm(x)).unflatten(-1, (3, self.num_heads, -1))
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
        self.linear = nn.Linear(width, width)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Add to each step a linear map of itself."""
        mapped: Tensor = self.dropout(self.linear(self.norm(x)))
        return x + mapped
