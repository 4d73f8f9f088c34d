"""Learning-rate schedules: torch's, given the number of steps that a run will take, with a linear warm-up."""

from __future__ import annotations

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, OneCycleLR


def _warm_up(step: int, total_steps: int, warmup: float) -> float:
    return min(1.0, (step + 1) / max(1.0, warmup * total_steps))


def constant(optimizer: Optimizer, *, total_steps: int, warmup: float = 0.0) -> LambdaLR:
    """The same rate for the whole run, after a warm-up over that share of the steps."""
    return LambdaLR(optimizer, lambda step: _warm_up(step, total_steps, warmup))


def linear(optimizer: Optimizer, *, total_steps: int, warmup: float = 0.0) -> LambdaLR:
    """Falls in a straight line to 0 at the last step."""
    return LambdaLR(optimizer, lambda step: _warm_up(step, total_steps, warmup) * max(0.0, 1 - step / total_steps))


def cosine(optimizer: Optimizer, *, total_steps: int, warmup: float = 0.0) -> LambdaLR:
    """Falls in half a cosine to 0 at the last step."""
    return LambdaLR(
        optimizer,
        lambda step: _warm_up(step, total_steps, warmup) * (1 + math.cos(math.pi * min(1.0, step / total_steps))) / 2,
    )


def one_cycle(optimizer: Optimizer, *, total_steps: int, warmup: float = 0.3) -> OneCycleLR:
    """Rises in half a cosine to the rate over the warm-up, then falls in half a cosine to nearly 0 (Smith 2018)."""
    return OneCycleLR(optimizer, [group["lr"] for group in optimizer.param_groups], total_steps, pct_start=warmup)
