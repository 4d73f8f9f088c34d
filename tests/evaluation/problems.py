"""Random pairs on a coarse time grid, so that ties at the usual thresholds are common."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from hypothesis import strategies as st
from torch import Tensor

from evaluation.reference import Array

THRESHOLDS = st.sampled_from([0.1, 0.3, 0.5, 0.7, 1.0])


@dataclass(frozen=True)
class Problem:
    """Pairs, in seconds. ranked (B, N, 2) may hold reversed and empty spans or exceed it; target (B, K, 2) not."""

    ranked: Tensor
    target: Tensor
    duration: Tensor

    def pairs(self, rows: list[int] | slice) -> tuple[Tensor, Tensor, Tensor]:
        return self.ranked[rows], self.target[rows], self.duration[rows]

    def arrays(self) -> tuple[Array, Array, Array]:
        return self.ranked.cpu().numpy(), self.target.cpu().numpy(), self.duration.cpu().numpy()


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    pairs, predictions = draw(st.integers(1, 6)), draw(st.integers(0, 4))
    durations = draw(st.lists(st.integers(10, 20), min_size=pairs, max_size=pairs))
    time = st.integers(-2, 22)
    span = st.tuples(time, time)
    ranked = [draw(st.lists(span, min_size=predictions, max_size=predictions)) for _ in range(pairs)]
    windows = draw(st.integers(1, 3))
    starts = [[draw(st.integers(0, seconds - 1)) for _ in range(windows)] for seconds in durations]
    ends = [[draw(st.integers(s + 1, seconds)) for s in row] for row, seconds in zip(starts, durations, strict=True)]
    return Problem(
        ranked=torch.tensor(ranked, dtype=torch.float64).reshape(pairs, predictions, 2),
        target=torch.tensor([starts, ends], dtype=torch.float64).permute(1, 2, 0),
        duration=torch.tensor(durations, dtype=torch.float64),
    )
