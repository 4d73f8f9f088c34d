"""Recurrent layers in both directions."""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._higher_order_ops.scan import scan

from cpnet.models.layers.masking import zero_padding

CELLS = {"lstm": nn.LSTM, "gru": nn.GRU}


class Bidirectional(nn.Module):
    """An LSTM or GRU in both directions over the real steps of each sequence, as torch's on packed sequences.

    Two plain layers and a reversal within each sequence take its place, because packed sequences cannot be exported.

    Args:
        cell: ``lstm`` or ``gru``
        input_dim: width of x
        width: D of each direction
        layers: number of layers; each but the first reads both directions of the one below
        dropout: probability between layers
        bias: whether the cells have biases

    Shape: x (B, L, input_dim), mask (B, L) bool, True = real -> steps (B, L, 2D), 0 where padded, and the last states
        of both directions of the last layer (B, 2D)

    >>> steps, last = Bidirectional("gru", 3, 4)(torch.zeros(2, 5, 3), torch.ones(2, 5, dtype=torch.bool))
    >>> steps.shape, last.shape
    (torch.Size([2, 5, 8]), torch.Size([2, 8]))
    """

    def __init__(
        self, cell: str, input_dim: int, width: int, *, layers: int = 1, dropout: float = 0.0, bias: bool = True
    ) -> None:
        super().__init__()
        widths = [input_dim, *[2 * width] * (layers - 1)]
        self.ahead, self.back = (
            nn.ModuleList(CELLS[cell](each, width, batch_first=True, bias=bias) for each in widths) for _ in range(2)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return the states of all steps, and the last ones."""
        for layer, (ahead, back) in enumerate(zip(self.ahead, self.back, strict=True)):
            x = self.dropout(x) if layer else x
            x = zero_padding(x, mask)
            forward, backward = run(ahead, x), reverse(run(back, reverse(x, mask)), mask)
            x = torch.cat((forward, backward), dim=2)
        end = (mask.sum(dim=1) - 1)[:, None, None].expand(-1, 1, forward.shape[2])
        last = torch.cat((forward.gather(1, end).squeeze(1), backward[:, 0]), dim=1)
        return zero_padding(x, mask), last


def run(layer: nn.Module, x: Tensor) -> Tensor:
    """Return the states of an LSTM or GRU, computed in the type of its weights: some CPUs have none in bfloat16.

    Shape: x (B, L, input width) -> (B, L, D)
    """
    with torch.autocast(x.device.type, enabled=False):
        x = x.to(layer.get_parameter("weight_ih_l0").dtype)
        states: Tensor = scanned(layer, x) if torch.compiler.is_exporting() else layer(x)[0]
    return states


def scanned(layer: nn.Module, x: Tensor) -> Tensor:
    """Return the states by a loop that an exported program keeps; torch unrolls its layers, for one length alone.

    Shape: x (B, L, input width) -> (B, L, D)
    """
    named = dict(layer.named_parameters())
    inputs = F.linear(x, named["weight_ih_l0"], named.get("bias_ih_l0")).transpose(0, 1)
    weight, bias = named["weight_hh_l0"], named.get("bias_hh_l0")

    def lstm(carry: tuple[Tensor, Tensor], gates: Tensor) -> tuple[tuple[Tensor, Tensor], Tensor]:
        h, c = carry
        i, f, g, o = (gates + F.linear(h, weight, bias)).chunk(4, dim=1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        return (h, c), h.clone()

    def gru(h: Tensor, gates: Tensor) -> tuple[Tensor, Tensor]:
        (r, z, n), (of_r, of_z, of_n) = gates.chunk(3, dim=1), F.linear(h, weight, bias).chunk(3, dim=1)
        z = (z + of_z).sigmoid()
        h = (1 - z) * (n + (r + of_r).sigmoid() * of_n).tanh() + z * h
        return h, h.clone()

    zero = x.new_zeros(x.shape[0], weight.shape[1])
    step, first = cast(Any, (lstm, (zero, zero.clone())) if isinstance(layer, nn.LSTM) else (gru, zero))
    states: Tensor = scan(step, first, inputs)[1]
    return states.transpose(0, 1)


def reverse(x: Tensor, mask: Tensor) -> Tensor:
    """Reverse the real steps of each sequence; padding stays where it is.

    Shape: x (B, L, D), mask (B, L) bool, True = real -> (B, L, D)

    >>> reverse(torch.tensor([[[1.0], [2.0], [0.0]]]), torch.tensor([[True, True, False]])).flatten().tolist()
    [2.0, 1.0, 0.0]
    """
    step = torch.arange(x.shape[1], device=x.device)
    source = torch.where(mask, mask.sum(dim=1, keepdim=True) - 1 - step, step)
    return x.gather(1, source.unsqueeze(-1).expand_as(x))
