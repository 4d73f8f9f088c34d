"""Oracle: closed forms, and torch's own one-cycle schedule."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch.optim import Adam
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR

from cpnet.training import schedules

RATE = 0.5


def optimizer() -> Adam:
    return Adam([torch.nn.Parameter(torch.zeros(1))], lr=RATE)


def rates(schedule: Callable[..., LRScheduler], total_steps: int, **arguments: float) -> list[float]:
    """Return the rate of each step and the rate after the last."""
    adam = optimizer()
    scheduler = schedule(adam, total_steps=total_steps, **arguments)
    taken = []
    for _ in range(total_steps):
        taken.append(adam.param_groups[0]["lr"])
        adam.step()
        scheduler.step()
    return [*taken, adam.param_groups[0]["lr"]]


@pytest.mark.parametrize("total_steps", [1, 7, 100])
@pytest.mark.parametrize(
    ("schedule", "form"),
    [
        (schedules.constant, lambda done: 1),
        (schedules.linear, lambda done: 1 - done),
        (schedules.cosine, lambda done: math.cos(math.pi / 2 * done) ** 2),  # (1 + cos 2x) / 2 = cos^2 x
    ],
)
def test_rate_follows_the_closed_form(
    schedule: Callable[..., LRScheduler], form: Callable[[float], float], total_steps: int
) -> None:
    expected = [RATE * form(step / total_steps) for step in range(total_steps + 1)]
    assert rates(schedule, total_steps) == pytest.approx(expected)
    assert rates(schedule, total_steps, warmup=0.1 / total_steps) == rates(schedule, total_steps)


@pytest.mark.parametrize("name", ["constant", "linear", "cosine"])
def test_warm_up_rises_in_equal_steps(name: str) -> None:
    schedule = getattr(schedules, name)
    plain, warm = rates(schedule, 20), rates(schedule, 20, warmup=0.25)
    for step, (without, with_warm_up) in enumerate(zip(plain, warm, strict=True)):
        share = (0.2, 0.4, 0.6, 0.8)[step] if step < 4 else 1
        assert with_warm_up == pytest.approx(share * without)


@pytest.mark.parametrize("name", ["linear", "cosine"])
def test_rate_stays_zero_after_the_last_step(name: str) -> None:
    adam = optimizer()
    scheduler = getattr(schedules, name)(adam, total_steps=3)
    for _ in range(6):
        adam.step()
        scheduler.step()
    assert adam.param_groups[0]["lr"] == 0


def test_one_cycle_equals_torch() -> None:
    adam = optimizer()
    expected = OneCycleLR(adam, max_lr=RATE, total_steps=10, pct_start=0.3)
    curve = []
    for _ in range(10):
        curve.append(adam.param_groups[0]["lr"])
        adam.step()
        expected.step()
    assert rates(schedules.one_cycle, 10)[:-1] == pytest.approx(curve)
    assert max(curve) == pytest.approx(RATE)
    assert curve[2] == pytest.approx(RATE)  # rises during three of ten steps
    assert curve[-1] < RATE / 1000


@pytest.mark.parametrize(("total_steps", "warmup"), [(10, 0.1), (5, 0.2), (1, 0.3), (1, 0.0), (7, 0.99)])
def test_one_cycle_accepts_any_warm_up(total_steps: int, warmup: float) -> None:
    curve = rates(schedules.one_cycle, total_steps, warmup=warmup)
    assert all(0 < rate <= RATE * (1 + 1e-6) for rate in curve[:-1])
    if warmup * total_steps == 1:
        assert curve[0] == pytest.approx(RATE / 25)
        assert curve[1] > RATE / 2


@pytest.mark.parametrize("name", ["constant", "linear", "cosine", "one_cycle"])
@pytest.mark.parametrize("warmup", [-0.1, 1.0, 5.0, math.nan])
def test_warm_up_outside_of_0_to_1_is_refused(name: str, warmup: float) -> None:
    with pytest.raises(ValueError, match=rf"scheduler\.warmup .* got {warmup}"):
        getattr(schedules, name)(optimizer(), total_steps=10, warmup=warmup)


@pytest.mark.parametrize("name", ["constant", "linear", "cosine", "one_cycle"])
def test_resumed_run_with_more_steps_follows_the_longer_schedule(name: str) -> None:
    schedule = getattr(schedules, name)
    planned = rates(schedule, 10, warmup=0.2)
    first, second = optimizer(), optimizer()
    before = schedule(first, total_steps=6, warmup=0.2)
    for _ in range(6):
        first.step()
        before.step()
    after = schedule(second, total_steps=10, warmup=0.2)
    second.load_state_dict(first.state_dict())
    after.load_state_dict(before.state_dict())
    found = []
    for _ in range(3):
        second.step()
        after.step()
        found.append(second.param_groups[0]["lr"])
    assert found == pytest.approx(planned[7:10])
