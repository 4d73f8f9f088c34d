"""Oracle: the formulas of the docstrings in closed form, and torch's own one-cycle schedule."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch.optim import Adam
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR

from cpnet import schedules

RATE = 0.5


def optimizer() -> Adam:
    return Adam([torch.nn.Parameter(torch.zeros(1))], lr=RATE)


def rates(schedule: Callable[..., LRScheduler], total_steps: int, **arguments: float) -> list[float]:
    """The rate of each step of a run, and the one that would follow."""
    adam = optimizer()
    scheduler = schedule(adam, total_steps=total_steps, **arguments)
    taken = []
    for _ in range(total_steps):
        taken.append(adam.param_groups[0]["lr"])
        adam.step()
        scheduler.step()
    return [*taken, adam.param_groups[0]["lr"]]


@pytest.mark.parametrize("total_steps", [1, 7, 100])
def test_constant_is_the_rate(total_steps: int) -> None:
    assert rates(schedules.constant, total_steps) == [RATE] * (total_steps + 1)


@pytest.mark.parametrize("total_steps", [1, 7, 100])
def test_linear_is_a_straight_line_to_zero(total_steps: int) -> None:
    line = [RATE * (total_steps - step) / total_steps for step in range(total_steps + 1)]
    assert rates(schedules.linear, total_steps) == pytest.approx(line)
    assert line[-1] == 0


@pytest.mark.parametrize("total_steps", [1, 7, 100])
def test_cosine_is_half_a_cosine_to_zero(total_steps: int) -> None:
    # cos^2(x/2) is (1 + cos x) / 2
    curve = [RATE * math.cos(math.pi / 2 * step / total_steps) ** 2 for step in range(total_steps + 1)]
    assert rates(schedules.cosine, total_steps) == pytest.approx(curve)


@pytest.mark.parametrize("name", ["constant", "linear", "cosine"])
def test_warm_up_rises_in_equal_steps_over_its_share(name: str) -> None:
    schedule = getattr(schedules, name)
    plain, warm = rates(schedule, 20), rates(schedule, 20, warmup=0.25)
    for step, (without, with_warm_up) in enumerate(zip(plain, warm, strict=True)):
        share = (0.2, 0.4, 0.6, 0.8)[step] if step < 4 else 1
        assert with_warm_up == pytest.approx(share * without)


@pytest.mark.parametrize("name", ["constant", "linear", "cosine"])
def test_a_warm_up_of_less_than_a_step_is_none(name: str) -> None:
    schedule = getattr(schedules, name)
    assert rates(schedule, 5, warmup=0.1) == rates(schedule, 5)


@pytest.mark.parametrize("name", ["linear", "cosine"])
def test_a_run_longer_than_planned_stays_at_zero(name: str) -> None:
    adam = optimizer()
    scheduler = getattr(schedules, name)(adam, total_steps=3)
    for _ in range(6):
        adam.step()
        scheduler.step()
    assert adam.param_groups[0]["lr"] == 0


def test_one_cycle_is_torchs() -> None:
    adam = optimizer()
    expected = OneCycleLR(adam, max_lr=RATE, total_steps=10, pct_start=0.3)
    curve = []
    for _ in range(10):
        curve.append(adam.param_groups[0]["lr"])
        adam.step()
        expected.step()
    assert rates(schedules.one_cycle, 10)[:-1] == pytest.approx(curve)
    assert max(curve) == pytest.approx(RATE)
    assert curve[2] == pytest.approx(RATE)  # three of ten steps rise
    assert curve[-1] < RATE / 1000


@pytest.mark.parametrize(("total_steps", "warmup"), [(10, 0.1), (5, 0.2), (1, 0.3), (1, 0.0), (7, 0.99)])
def test_one_cycle_lives_through_any_warm_up(total_steps: int, warmup: float) -> None:
    curve = rates(schedules.one_cycle, total_steps, warmup=warmup)
    assert all(0 < rate <= RATE * (1 + 1e-6) for rate in curve[:-1])
    if warmup * total_steps == 1:
        assert curve[0] == pytest.approx(RATE / 25)
        assert curve[1] > RATE / 2


def test_one_cycle_keeps_the_rates_of_parameter_groups() -> None:
    adam = Adam([{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": rate} for rate in (0.1, 0.4)])
    scheduler = schedules.one_cycle(adam, total_steps=10, warmup=0.2)
    adam.step()
    scheduler.step()
    assert [group["lr"] for group in adam.param_groups] == pytest.approx([0.1, 0.4])


@pytest.mark.parametrize("name", ["constant", "linear", "cosine", "one_cycle"])
@pytest.mark.parametrize("warmup", [-0.1, 1.0, 5.0, math.nan])
def test_a_warm_up_that_is_no_share_is_refused(name: str, warmup: float) -> None:
    with pytest.raises(ValueError, match=rf"scheduler\.warmup .* got {warmup}"):
        getattr(schedules, name)(optimizer(), total_steps=10, warmup=warmup)


@pytest.mark.parametrize("name", ["constant", "linear", "cosine", "one_cycle"])
def test_a_run_that_goes_on_for_longer_follows_its_new_plan(name: str) -> None:
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
