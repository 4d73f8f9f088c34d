"""Order of pairs: shuffled for training, sharded for evaluation. A training epoch can resume at any batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, DistributedSampler

from cpnet.data.dataset import GroundingDataset, IndexAndPhase


class TrainingSampler(DistributedSampler[Any]):
    """One process's share of the training pairs, reshuffled each epoch, each with the phase of its clips.

    The order depends only on seed and epoch, not on other random draws, so an epoch can start at any pair. Together,
    the processes take the batches that one process would take with the total batch size. If the pairs do not divide
    evenly, a few are repeated so that all processes take the same number of steps.
    """

    def __init__(self, dataset: GroundingDataset, *, seed: int, rank: int, world: int) -> None:
        super().__init__(dataset, num_replicas=world, rank=rank, shuffle=True, seed=seed)
        self.first = 0  # index in the share at which the next epoch starts

    def __iter__(self) -> Iterator[IndexAndPhase]:
        generator = np.random.default_rng([self.seed, self.epoch])
        pairs = len(self.dataset)  # type: ignore[arg-type]
        order, phase = generator.permutation(pairs), generator.random(pairs)
        share = np.resize(order, self.total_size)[self.rank :: self.num_replicas]
        return zip(share[self.first :].tolist(), phase[share[self.first :]].tolist(), strict=True)


class ShardSampler(DistributedSampler[Any]):
    """One process's share of the evaluation batches. Every pair is in one batch, the same as with a single process.

    Predictions and metrics are therefore the same to the last bit for any number of processes. A process without a
    batch gets an empty one, because Lightning needs every process to take part. The base class keeps Lightning from
    sharding the share again.

    ``order`` lists the rows of the split. The process takes every ``world``-th batch, starting with batch ``rank``.
    """

    def __init__(
        self, dataset: GroundingDataset, *, order: Sequence[int], batch_size: int, rank: int, world: int
    ) -> None:
        super().__init__(dataset, num_replicas=world, rank=rank, shuffle=False)
        starts = range(rank * batch_size, len(order), world * batch_size)
        self.batches = [list(order[start : start + batch_size]) for start in starts] or [[]]

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


class GroundingLoader(DataLoader[Any]):
    """Batches of a split. A resumed training epoch skips the batches that the run has already taken.

    Lightning stores ``state_dict`` in its checkpoints. ``batch_size`` is None if the sampler yields whole batches.
    """

    def __init__(
        self, dataset: GroundingDataset, *, sampler: TrainingSampler | ShardSampler, batch_size: int | None
    ) -> None:
        super().__init__(
            dataset,
            batch_size=batch_size,
            sampler=sampler,
            collate_fn=lambda batch: batch,  # the dataset returns whole batches
            pin_memory=torch.cuda.is_available(),
            generator=torch.Generator(),  # otherwise each epoch draws from the run's global generator
        )
        self._taken = 0
        self._resumed: tuple[int, int] | None = None  # epoch, and number of its batches already taken

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        # A generator: Lightning makes the iterator before it sets the sampler's epoch.
        self._taken = 0
        if isinstance(self.sampler, TrainingSampler):
            if self._resumed is not None and self._resumed[0] == self.sampler.epoch:
                self._taken = self._resumed[1]
            self._resumed = None
            assert self.batch_size is not None
            self.sampler.first = self._taken * self.batch_size
        for batch in super().__iter__():
            self._taken += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        """Return the epoch and the number of its batches already taken."""
        return {"epoch": getattr(self.sampler, "epoch", 0), "taken": self._taken}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Skip the batches already taken if the next epoch is that of the state."""
        self._resumed = state["epoch"], state["taken"]
