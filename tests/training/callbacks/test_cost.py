"""Oracles: products of the layers' sizes, and clocks that tests set."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cpnet.batch import GroundingBatch, GroundingOutput
from cpnet.training.callbacks.cost import CostMeter, forward_cost
from cpnet.training.module import GroundingModule


@pytest.mark.parametrize(
    ("layer", "multiplications"),
    [
        (nn.Linear(8, 5), 7 * 8 * 5),
        (nn.LSTM(8, 6, batch_first=True), 7 * 4 * 6 * (8 + 6)),
        (nn.GRU(8, 6, batch_first=True, num_layers=2), 7 * 3 * 6 * (8 + 6 + 6 + 6)),
        (lambda x: F.scaled_dot_product_attention(x[:, None], x[:, None], x[:, None]), 2 * 7 * 7 * 8),
    ],
)
def test_operations_are_two_a_multiplication(layer: Callable[[Tensor], Tensor], multiplications: int) -> None:
    x = torch.randn(4, 7, 8)
    with torch.inference_mode():
        cost = forward_cost(lambda: layer(x), pairs=4)
    assert cost.gflop == pytest.approx(2e-9 * multiplications)
    assert cost.pairs_per_sec > 0


@pytest.mark.parametrize(("shares", "projections"), [(False, 3), (True, 2)])
def test_a_video_of_several_pairs_counts_once_if_the_model_shares_it(shares: bool, projections: int) -> None:
    class Projection(nn.Module):
        shares_videos = shares

        def forward(self, batch: GroundingBatch) -> GroundingOutput:
            F.linear(batch.video, torch.ones(5, 8))
            return GroundingOutput(span=torch.zeros(3, 2), ranked=torch.zeros(3, 1, 2))

    pairs = GroundingBatch(
        video=torch.randn(2, 7, 8),
        video_mask=torch.ones(2, 7, dtype=torch.bool),
        query=torch.zeros(3, 1, dtype=torch.long),
        query_mask=torch.ones(3, 1, dtype=torch.bool),
        windows=torch.zeros(3, 1, 2),
        windows_sec=torch.zeros(3, 1, 2),
        duration_sec=torch.ones(3),
        index=torch.arange(3),
        video_index=torch.tensor([0, 1, 0]),
    )
    moves, casts = SimpleNamespace(batch_to_device=lambda x: x), SimpleNamespace(forward_context=nullcontext)
    run: Any = SimpleNamespace(test_dataloaders=[pairs], strategy=moves, precision_plugin=casts)
    meter = CostMeter()
    meter.on_test_end(run, GroundingModule(model=Projection()))
    assert meter.forward is not None
    assert meter.forward.gflop == pytest.approx(2e-9 * projections * 7 * 8 * 5 / 3)


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
