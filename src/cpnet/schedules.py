"""Learning-rate schedules: torch's, given the number of steps that a run will take, with a linear warm-up.

All of them raise ``ValueError`` for a warm-up that is no share of the steps, in [0, 1).
"""

from __future__ import annotations

import math
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, OneCycleLR

PLAN = ("total_steps", "_schedule_phases")  # of OneCycleLR, which its constructor sets


def constant(optimizer: Optimizer, *, total_steps: int, warmup: float = 0.0) -> LambdaLR:
    """The same rate for the whole run, after a warm-up over that share of the steps."""
    _check(warmup)
    return LambdaLR(optimizer, lambda step: _warm_up(step, total_steps, warmup))


def linear(optimizer: Optimizer, *, total_steps: int, warmup: float = 0.0) -> LambdaLR:
    """Falls in a straight line to 0 at the end of the last step."""
    _check(warmup)
    return LambdaLR(optimizer, lambda step: _warm_up(step, total_steps, warmup) * max(0.0, 1 - step / total_steps))


def cosine(optimizer: Optimizer, *, total_steps: int, warmup: float = 0.0) -> LambdaLR:
    """Falls in half a cosine to 0 at the end of the last step."""
    _check(warmup)
    return LambdaLR(
        optimizer,
        lambda step: _warm_up(step, total_steps, warmup) * (1 + math.cos(math.pi * min(1.0, step / total_steps))) / 2,
    )


class OneCycle(OneCycleLR):
    """torch's, whose state leaves the plan out: a run that goes on for longer follows that of its new length."""

    def state_dict(self) -> dict[str, Any]:
        """Give the place within the plan, as the other schedules do."""
        return {key: value for key, value in super().state_dict().items() if key not in PLAN}


def one_cycle(optimizer: Optimizer, *, total_steps: int, warmup: float = 0.3) -> OneCycle:
    """Rises in half a cosine to the rate over the warm-up, then falls in half a cosine to nearly 0 (Smith 2018).

    The momentum, or the first of Adam's betas, goes the other way: 0.95, 0.85, 0.95.
    """
    _check(warmup)
    if warmup * total_steps == 1:
        warmup += 1e-9  # OneCycleLR divides by the steps of the warm-up less one
    return OneCycle(optimizer, [group["lr"] for group in optimizer.param_groups], total_steps, pct_start=warmup)


def _warm_up(step: int, total_steps: int, warmup: float) -> float:
    return min(1.0, (step + 1) / max(1.0, warmup * total_steps))


def _check(warmup: float) -> None:
    if not 0 <= warmup < 1:
        raise ValueError(f"scheduler.warmup is a share of the steps: it must lie in [0, 1), got {warmup}")
