"""Layers of transformers: global, local and cross-attention, feed-forward layer, scaled residual branch, positions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cpnet.models.layers.attention import LONGEST_MAP, attention
from cpnet.models.layers.convolution import DepthwiseConv1d
from cpnet.models.layers.dropout import Dropout
from cpnet.models.layers.masking import mask_logits, masked_softmax, zero_padding


class Attention(nn.Module):
    """Multi-head attention, with all its linear layers.

    Args:
        width: D of the queries
        heads: H, a divisor of D
        key_width: E of keys and values; D if None
        out_width: O; D if None
        window: a step attends to the ``window`` steps around it; 0 for all steps
        dropout: probability of the output

    Shape: q (B, T, D), k and v (B, L, E), mask (B, L) bool, True = real -> (B, T, O)
    """

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        key_width: int | None = None,
        out_width: int | None = None,
        window: int = 0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.heads, self.window = heads, window
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(key_width or width, width)
        self.value = nn.Linear(key_width or width, width)
        self.out = nn.Linear(width, out_width or width)
        self.dropout = Dropout(dropout)

    def forward(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
        """Attend to the real steps."""
        pairs = ((self.query, q), (self.key, k), (self.value, v))
        q, k, v = (layer(x).unflatten(2, (self.heads, -1)).transpose(1, 2) for layer, x in pairs)
        if self.window:
            mixed = local_attention(q, k, v, mask, self.window)
        else:
            mixed = attention(q, k, v, mask[:, None, None, :])
        attended: Tensor = self.dropout(self.out(mixed.transpose(1, 2).flatten(2)))
        return attended


def local_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, window: int) -> Tensor:
    """Compute the attention of each step to the real ones of the ``window`` (odd) steps around it.

    Short sequences compute the whole T x T map, which is faster; memory grows with T beyond ``LONGEST_MAP`` steps.

    Shape: q, k, v (B, H, T, D/H), mask (B, T) bool, True = real -> (B, H, T, D/H)
    """
    steps, side = q.shape[2], window // 2
    if steps <= LONGEST_MAP:
        step = torch.arange(steps, device=q.device)
        near = (step[:, None] - step).abs() <= side
        return attention(q, k, v, mask[:, None, None, :] & near)
    keys, values = (F.pad(x, (0, 0, side, side)).unfold(2, window, 1) for x in (k, v))  # (B, H, T, D/H, window)
    logits = (q[:, :, :, None] * q.shape[3] ** -0.5 @ keys).squeeze(3)
    weights = masked_softmax(logits, F.pad(mask, (side, side)).unfold(1, window, 1)[:, None], dim=3).to(v.dtype)
    return (values @ weights[..., None]).squeeze(4)


def feed_forward(width: int, *, dropout: float) -> nn.Sequential:
    """Return two linear layers with GELU, 4 D wide between them. Shape: (B, T, D) -> (B, T, D)."""
    layers = (nn.Linear(width, 4 * width), nn.GELU(), Dropout(dropout))
    return nn.Sequential(*layers, nn.Linear(4 * width, width), Dropout(dropout))


class Branch(nn.Module):
    """End of a residual branch: a learned scale of each channel (Touvron et al. 2021) and stochastic depth.

    Args:
        width: D
        drop_path: probability with which training drops the branch of a whole sequence (Huang et al. 2016)

    Shape: (B, T, D) -> (B, T, D)
    """

    def __init__(self, width: int, *, drop_path: float) -> None:
        super().__init__()
        self.drop_path = drop_path
        self.scale = nn.Parameter(torch.full((width,), 1e-4))

    def forward(self, x: Tensor) -> Tensor:
        """Scale, and drop whole sequences while training."""
        scale: Tensor = self.scale.to(x.dtype)
        if self.training and self.drop_path:
            kept = torch.rand(len(x), 1, 1, device=x.device) >= self.drop_path
            scale = scale * (kept / (1 - self.drop_path)).to(x.dtype)
        return x * scale


class EncoderLayer(nn.Module):
    """[LayerNorm, depthwise convolutions, attention, + input], [LayerNorm, feed-forward layer, + input].

    Args:
        width: D
        heads: H
        stride: 0 for global attention without convolutions; 1 or 2 for local attention; 2 halves the steps
        window: steps of local attention, odd; 0 for all
        dropout: probability of the outputs of attention and feed-forward layer
        drop_path: see :class:`Branch`

    Shape: x (B, T, D), mask (B, T) bool, True = real -> (B, ceil(T / stride), D) and its mask
    """

    def __init__(
        self, width: int, heads: int, *, stride: int = 0, window: int = 0, dropout: float = 0.0, drop_path: float = 0.0
    ) -> None:
        super().__init__()
        self.stride = stride
        self.convolutions = nn.ModuleList(DepthwiseConv1d(width, 3) for _ in range(3 if stride else 0))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in self.convolutions)
        self.attention = Attention(width, heads, window=window, dropout=dropout)
        self.attention_norm, self.attention_branch = nn.LayerNorm(width), Branch(width, drop_path=drop_path)
        self.feed_forward = feed_forward(width, dropout=dropout)
        self.feed_forward_norm, self.feed_forward_branch = nn.LayerNorm(width), Branch(width, drop_path=drop_path)

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Encode the real steps."""
        h = self.attention_norm(x)
        q = k = v = h
        if self.stride:
            pairs = zip(self.convolutions, self.norms, strict=True)
            q, k, v = (norm(halve(conv(h, mask)) if self.stride == 2 else conv(h, mask)) for conv, norm in pairs)
        if self.stride == 2:
            around = F.pad(mask_logits(x, mask[:, :, None]), (0, 0, 1, 1), value=torch.finfo(x.dtype).min)
            x = halve(torch.maximum(torch.maximum(around[:, :-2], around[:, 1:-1]), around[:, 2:]))
            mask = halve(mask)
        x = zero_padding(x, mask) + self.attention_branch(self.attention(q, k, v, mask))
        encoded: Tensor = x + self.feed_forward_branch(self.feed_forward(self.feed_forward_norm(x)))
        return encoded, mask


def halve(x: Tensor) -> Tensor:
    """Return every second step, the first included.

    Pairs instead of a slice: torch.export would take a slice for longer than one step.

    Shape: (B, T, ...) -> (B, ceil(T / 2), ...)
    """
    odd = (*[0] * (2 * x.ndim - 4), 0, x.shape[1] % 2)
    return F.pad(x, odd).reshape(x.shape[0], -1, 2, *x.shape[2:])[:, :, 0]


def add_positions(x: Tensor) -> Tensor:
    """Add sines to the first half of the channels and cosines to the second, divided by sqrt(D) (Vaswani et al. 2017).

    Shape: (B, T, D) -> (B, T, D), D even
    """
    steps, half = x.shape[1], x.shape[2] // 2
    rate = 10_000.0 ** (-torch.arange(half, device=x.device) / half)
    angle = torch.arange(steps, device=x.device)[:, None] * rate
    table = torch.cat((angle.sin(), angle.cos()), dim=1) * x.shape[2] ** -0.5
    positions: Tensor = table.to(x.dtype)
    return x + positions
