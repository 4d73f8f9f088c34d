"""Oracle: weighted means by hand; sums must not depend on when they are read."""

from __future__ import annotations

import os
from functools import partial

import pytest
import torch

from cpnet.training.epoch_means import EpochMeans
from ranks import in_ranks

VALUES = [0.1, 1 / 3, 7.7, 1e-9, 2.5]


def add(means: EpochMeans, values: list[float]) -> EpochMeans:
    for number, value in enumerate(values, start=1):
        means.add({"loss": torch.tensor(value, requires_grad=True), "rate": value}, weight=number)
    return means


def test_means_are_weighted_by_pairs() -> None:
    expected = sum(value * weight for weight, value in enumerate(VALUES, start=1)) / 15
    means = add(EpochMeans(), VALUES)
    assert means.compute() == pytest.approx({"loss": expected, "rate": expected}, rel=1e-7)
    assert means.compute() == {}  # a new epoch


@pytest.mark.parametrize("at", range(len(VALUES)))
def test_resumed_sums_are_bit_identical(at: int) -> None:
    whole, first, second = add(EpochMeans(), VALUES), EpochMeans(), EpochMeans()
    for number, value in enumerate(VALUES, start=1):
        means = first if number <= at else second
        if number == at + 1:
            second.load_state_dict(first.state_dict())
        means.add({"loss": torch.tensor(value), "rate": value}, weight=number)
        means.state_dict()  # a checkpoint
    assert second.compute() == whole.compute()


def one_of_several(counts: list[int]) -> dict[str, float]:
    rank, means = int(os.environ["LOCAL_RANK"]), EpochMeans()
    torch.distributed.init_process_group("gloo", rank=rank, world_size=len(counts))
    for _ in range(counts[rank]):
        means.add({"loss": float(rank)}, weight=2)
    return means.compute()


def test_processes_share_means_even_without_values_of_their_own() -> None:
    assert in_ranks(3, partial(one_of_several, [3, 1, 0])) == [{"loss": 0.25}] * 3
