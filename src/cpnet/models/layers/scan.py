"""LSTM and GRU layers as a scan, for exporters: torch's own layers would fix the number of steps in the graph."""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn
from torch._higher_order_ops.scan import scan

States = tuple[Tensor, ...]


def states_of(layer: nn.RNNBase, x: Tensor) -> Tensor:
    """Return what the layer itself returns first: the states of its last sub-layer, in one direction from zeros.

    Shape: x (B, L, input width) -> (B, L, D)
    """
    step, carried = (_lstm, 2) if isinstance(layer, nn.LSTM) else (_gru, 1)
    for weights in layer.all_weights:
        of_input, of_state, *biases = weights
        bias, state_bias = biases or (None, None)
        zeros = tuple(x.new_zeros(1, layer.hidden_size).repeat(x.shape[0], 1) for _ in range(carried))
        _, x = scan(step(of_state, state_bias), zeros, F.linear(x, of_input, bias), dim=1)
    return x


def _lstm(weight: Tensor, bias: Tensor | None) -> Callable[[States, Tensor], tuple[States, Tensor]]:
    def step(carry: States, given: Tensor) -> tuple[States, Tensor]:
        state, memory = carry
        enter, keep, new, leave = (given + F.linear(state, weight, bias)).chunk(4, dim=1)
        memory = keep.sigmoid() * memory + enter.sigmoid() * new.tanh()
        state = leave.sigmoid() * memory.tanh()
        return (state, memory), state.clone()

    return step


def _gru(weight: Tensor, bias: Tensor | None) -> Callable[[States, Tensor], tuple[States, Tensor]]:
    def step(carry: States, given: Tensor) -> tuple[States, Tensor]:
        (state,) = carry
        reset, keep, new = given.chunk(3, dim=1)
        reset_of, keep_of, new_of = F.linear(state, weight, bias).chunk(3, dim=1)
        kept = (keep + keep_of).sigmoid()
        state = (1 - kept) * (new + (reset + reset_of).sigmoid() * new_of).tanh() + kept * state
        return (state,), state.clone()

    return step
