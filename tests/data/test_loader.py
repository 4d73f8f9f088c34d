"""Oracle: NumPy's permutation and phases from seed and epoch, and lists cut by hand."""

from __future__ import annotations

from itertools import cycle, islice, zip_longest
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from corpora import TRAIN, ready, write_corpus
from cpnet.data.dataset import GroundingDataset
from cpnet.data.loader import GroundingLoader, ShardSampler, TrainingSampler

PAIRS = len(TRAIN)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> GroundingDataset:
    return ready(write_corpus(tmp_path_factory.mktemp("corpus"))).dataset("train")


def expected_share(seed: int, epoch: int) -> list[tuple[int, float]]:
    """Rows and phases of an epoch, by the recipe of the docstring: a phase belongs to its pair, not to its place."""
    generator = np.random.default_rng([seed, epoch])
    order = generator.permutation(PAIRS)
    phase = generator.random(PAIRS)
    return [(int(row), float(phase[row])) for row in order]


def sampler(dataset: GroundingDataset, *, seed: int = 3, epoch: int = 0, rank: int = 0, world: int = 1) -> Any:
    made = TrainingSampler(dataset, seed=seed, rank=rank, world=world)
    made.set_epoch(epoch)
    return made


def loader(dataset: GroundingDataset, *, epoch: int = 0, size: int = 3) -> GroundingLoader:
    return GroundingLoader(dataset, sampler=sampler(dataset, epoch=epoch), batch_size=size)


def set_epoch(made: GroundingLoader, epoch: int) -> None:
    """Set the epoch, as Lightning does."""
    assert isinstance(made.sampler, TrainingSampler)
    made.sampler.set_epoch(epoch)


def rows(batches: DataLoader[Any]) -> list[list[int]]:
    return [batch.index.tolist() for batch in batches]


def cut(epoch: int, size: int = 3) -> list[list[int]]:
    order = [row for row, _ in expected_share(3, epoch)]
    return [order[first : first + size] for first in range(0, PAIRS, size)]


@pytest.mark.parametrize("epoch", [0, 1, 57])
def test_order_and_phases_depend_on_seed_and_epoch_only(epoch: int, dataset: GroundingDataset) -> None:
    for seed in (0, 3):
        torch.manual_seed(epoch + seed)
        np.random.seed(epoch)
        assert list(sampler(dataset, seed=seed, epoch=epoch)) == expected_share(seed, epoch)
    assert sorted(row for row, _ in sampler(dataset, epoch=epoch)) == list(range(PAIRS))
    assert all(0 <= phase < 1 for _, phase in sampler(dataset, epoch=epoch))


@pytest.mark.parametrize("world", [1, 2, 3, 8, 45])
def test_batches_of_all_processes_together_are_those_of_one_process(world: int, dataset: GroundingDataset) -> None:
    size = 2
    # Where the pairs do not divide evenly, the first come again.
    expected = [*islice(cycle(expected_share(3, 5)), -(-PAIRS // world) * world)]
    shares = [list(sampler(dataset, epoch=5, rank=rank, world=world)) for rank in range(world)]
    assert len({len(share) for share in shares}) == 1
    for step in range(-(-len(shares[0]) // size)):
        together = [pick for share in shares for pick in share[size * step : size * (step + 1)]]
        assert sorted(together) == sorted(expected[world * size * step : world * size * (step + 1)])


def test_epoch_can_be_interrupted_several_times(dataset: GroundingDataset) -> None:
    state, whole = {"epoch": 4, "taken": 0}, list(loader(dataset, epoch=4))
    taken: list[list[int]] = []
    for _ in range(4):
        part = loader(dataset, epoch=4)
        part.load_state_dict(state)
        for batch in part:
            assert torch.equal(batch.per_pair().video, whole[len(taken)].per_pair().video)
            taken.append(batch.index.tolist())
            state = part.state_dict()
            if state["taken"] % 2 == 0:
                break
    assert taken == cut(4)
    assert part.state_dict() == {"epoch": 4, "taken": len(part)}
    assert len(part) == len(taken)
    set_epoch(part, 5)
    assert rows(part) == cut(5)  # whole


def test_state_of_another_epoch_is_ignored(dataset: GroundingDataset) -> None:
    other = loader(dataset, epoch=2)
    other.load_state_dict({"epoch": 1, "taken": 3})
    assert rows(other) == cut(2)
    set_epoch(other, 1)
    assert rows(other) == cut(1)  # the state is gone by then


def test_loader_draws_no_random_number_of_torch(dataset: GroundingDataset) -> None:
    before = torch.get_rng_state()
    rows(loader(dataset))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("world", [1, 2, 3, 4, 9])
def test_shards_hold_every_batch_of_an_order_once(world: int, dataset: GroundingDataset) -> None:
    order = [5, 1, 4, 0, 2, 3, 6]
    shards = [ShardSampler(dataset, order=order, batch_size=2, rank=rank, world=world) for rank in range(world)]
    shares = [list(shard) for shard in shards]
    assert [len(shard) for shard in shards] == [len(share) for share in shares]
    assert all(share == [[]] or all(share) for share in shares)  # a process without a batch takes part
    in_turn = [batch for turn in zip_longest(*shares) for batch in turn if batch]
    assert in_turn == [[5, 1], [4, 0], [2, 3], [6]]


def test_evaluation_is_whole_each_time(dataset: GroundingDataset) -> None:
    shard = ShardSampler(dataset, order=[*range(7)], batch_size=3, rank=0, world=1)
    made = GroundingLoader(dataset, sampler=shard, batch_size=None)
    for _ in range(2):
        assert rows(made) == [[0, 1, 2], [3, 4, 5], [6]]
