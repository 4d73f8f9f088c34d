"""Learning-rate schedules over a known number of steps, with a linear warm-up.

All of them raise ``ValueError`` if ``warmup``, a share of the steps, lies outside [0, 1).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, OneCycleLR

PLAN = ("total_steps", "_schedule_phases")  # attributes of OneCycleLR that its constructor sets


def constant(optimizer: Optimizer, *, total_steps: int, warmup: float = 0.0) -> LambdaLR:
    """Constant rate after the warm-up."""
    return _schedule(optimizer, total_steps, warmup, lambda done: 1.0)


def linear(optimizer: Optimizer, *, total_steps: int, warmup: float = 0.0) -> LambdaLR:
    """Linear decay to 0 at the end of the last step."""
    return _schedule(optimizer, total_steps, warmup, lambda done: 1 - done)


def cosine(optimizer: Optimizer, *, total_steps: int, warmup: float = 0.0) -> LambdaLR:
    """Decay along half a cosine to 0 at the end of the last step."""
    return _schedule(optimizer, total_steps, warmup, lambda done: (1 + math.cos(math.pi * done)) / 2)


class OneCycle(OneCycleLR):
    """torch's schedule without its length in the state, so that a resumed run may have more steps."""

    def state_dict(self) -> dict[str, Any]:
        """Return the position within the schedule, as the other schedules do."""
        return {key: value for key, value in super().state_dict().items() if key not in PLAN}


def one_cycle(optimizer: Optimizer, *, total_steps: int, warmup: float = 0.3) -> OneCycle:
    """Rise along half a cosine to the rate over the warm-up, then fall along half a cosine to nearly 0 (Smith 2018).

    The momentum, or Adam's first beta, moves the other way: 0.95, 0.85, 0.95.
    """
    _check(warmup)
    if warmup * total_steps == 1:
        warmup += 1e-9  # OneCycleLR divides by the number of warm-up steps minus one
    return OneCycle(optimizer, [group["lr"] for group in optimizer.param_groups], total_steps, pct_start=warmup)


def _schedule(optimizer: Optimizer, total_steps: int, warmup: float, decay: Callable[[float], float]) -> LambdaLR:
    """Multiply the rate by the warm-up and by ``decay``, a function of the share of the steps that are done."""
    _check(warmup)

    def factor(step: int) -> float:
        return min(1.0, (step + 1) / max(1.0, warmup * total_steps)) * decay(min(1.0, step / total_steps))

    return LambdaLR(optimizer, factor)


def _check(warmup: float) -> None:
    if not 0 <= warmup < 1:
        raise ValueError(f"scheduler.warmup is a share of the steps and must lie in [0, 1); got {warmup}")
