"""Oracles: products of the layers' sizes, and clocks that tests set."""

from __future__ import annotations

import time
from typing import Any

import pytest
import torch
from torch import nn

from cpnet.training.callbacks.cost import CostMeter, forward_cost


@pytest.mark.parametrize(
    ("layer", "multiplications"),
    [
        (nn.Linear(8, 5), 7 * 8 * 5),
        (nn.LSTM(8, 6, batch_first=True), 7 * 4 * 6 * (8 + 6)),
        (nn.GRU(8, 6, batch_first=True, num_layers=2), 7 * 3 * 6 * (8 + 6 + 6 + 6)),
    ],
)
def test_operations_are_two_a_multiplication(layer: nn.Module, multiplications: int) -> None:
    x = torch.randn(4, 7, 8)
    with torch.inference_mode():
        cost = forward_cost(lambda: layer(x), pairs=4)
    assert cost.gflop == pytest.approx(2e-9 * multiplications)
    assert cost.pairs_per_sec > 0


def test_seconds_count_all_starts_of_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0, 10.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(time, "process_time", lambda: now[1])
    first, resumed, nothing = CostMeter(), CostMeter(), object()
    arguments: Any = (nothing, nothing)
    first.on_fit_start(*arguments)
    now[:] = [103.0, 12.0]
    state = first.state_dict()
    now[:] = [200.0, 20.0]  # lost: no checkpoint has them
    resumed.load_state_dict(state)
    resumed.on_fit_start(*arguments)
    now[:] = [205.0, 21.0]
    resumed.on_fit_end(*arguments)
    now[:] = [300.0, 30.0]
    assert resumed.seconds == resumed.state_dict() == {"fit": 8.0, "fit_cpu": 3.0}
