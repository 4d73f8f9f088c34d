"""LSTM and GRU layers as a scan, for exporters: torch's own layers would fix the number of steps in the graph."""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn
from torch._higher_order_ops.scan import scan

Carry = tuple[Tensor, ...]  # (h, c) of an LSTM, (h,) of a GRU


def states_of(layer: nn.RNNBase, x: Tensor) -> Tensor:
    """Return the states of the last sub-layer, as the layer itself does, in one direction from zeros.

    Shape: x (B, L, input width) -> (B, L, D)
    """
    cell, carried = (_lstm, 2) if isinstance(layer, nn.LSTM) else (_gru, 1)
    for of_input, of_state, *biases in layer.all_weights:
        bias, state_bias = biases or (None, None)
        zeros = tuple(x.new_zeros(1, layer.hidden_size).repeat(x.shape[0], 1) for _ in range(carried))
        _, x = scan(cell(of_state, state_bias), zeros, F.linear(x, of_input, bias), dim=1)
    return x


def _lstm(weight: Tensor, bias: Tensor | None) -> Callable[[Carry, Tensor], tuple[Carry, Tensor]]:
    def step(carry: Carry, x: Tensor) -> tuple[Carry, Tensor]:
        h, c = carry
        enter, forget, new, out = (x + F.linear(h, weight, bias)).chunk(4, dim=1)
        c = forget.sigmoid() * c + enter.sigmoid() * new.tanh()
        h = out.sigmoid() * c.tanh()
        return (h, c), h.clone()  # scan refuses outputs that share memory

    return step


def _gru(weight: Tensor, bias: Tensor | None) -> Callable[[Carry, Tensor], tuple[Carry, Tensor]]:
    def step(carry: Carry, x: Tensor) -> tuple[Carry, Tensor]:
        (h,) = carry
        reset, update, new = x.chunk(3, dim=1)
        state_reset, state_update, state_new = F.linear(h, weight, bias).chunk(3, dim=1)
        z = (update + state_update).sigmoid()
        h = (1 - z) * (new + (reset + state_reset).sigmoid() * state_new).tanh() + z * h
        return (h,), h.clone()

    return step
