"""Which pairs come when, on which process, and from which batch of an epoch on."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.context import BaseContext
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, DistributedSampler

from cpnet.batch import GroundingBatch
from cpnet.data.collate import Draw
from cpnet.data.dataset import GroundingDataset, Pick

OF_THE_RUN = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)  # signals that a whole group of processes may get


class TrainingSampler(DistributedSampler[Any]):
    """One process's share of the training pairs, in another order each epoch, each with the phase of its clips.

    All of an epoch follows from seed and epoch alone: it can begin at any pair, and neither the number of worker
    processes nor what else draws random numbers changes it. The processes' batches together are those of one process
    with batches of that size; a few pairs come twice where they do not divide, so that all take as many steps.

    Args:
        dataset: what is sampled
        seed: of the run
        rank: of the process
        world: number of processes
    """

    def __init__(self, dataset: GroundingDataset, *, seed: int, rank: int, world: int) -> None:
        super().__init__(dataset, num_replicas=world, rank=rank, shuffle=True, seed=seed)
        self.first = 0  # of the share's pairs, the one that an epoch begins with

    def __iter__(self) -> Iterator[Pick]:
        return iter(self.picks()[self.first :])

    def picks(self) -> list[Pick]:
        """Give the whole share of the epoch: rows of the split, and phases in [0, 1)."""
        generator = np.random.default_rng([self.seed, self.epoch])
        pairs = len(self.dataset)  # type: ignore[arg-type]
        order, phase = generator.permutation(pairs), generator.random(pairs)
        share = np.resize(order, self.total_size)[self.rank :: self.num_replicas]
        return list(zip(share.tolist(), phase[share].tolist(), strict=True))


class ShardSampler(DistributedSampler[Any]):
    """The batches of one process among those of an order: no pair is given twice, and each has the neighbours that it
    would have in one process, whose predictions and metrics are the same to the last bit.

    A process that gets none has a batch of no pairs: without any, Lightning would not let it take part. Lightning also
    puts a sampler of its own around every other kind, which would share out the share again.

    Args:
        dataset: what is sampled
        order: its pairs, which are cut into batches; every ``world``-th of those from ``rank`` on is taken
        batch_size: pairs of a batch
        rank: of the process
        world: number of processes
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
    """Whole batches of a split; an epoch of training goes on behind the batches that a run has taken already.

    Lightning keeps ``state_dict`` in its checkpoints.
    """

    def __init__(
        self,
        dataset: GroundingDataset,
        *,
        sampler: TrainingSampler | ShardSampler,
        batch_size: int | None,
        num_workers: int,
    ) -> None:
        collate: Callable[[Any], Any] = _as_it_is
        super().__init__(
            dataset,
            batch_size=batch_size,
            sampler=sampler,
            num_workers=num_workers,
            worker_init_fn=_follow_the_parent,
            collate_fn=collate,
            pin_memory=torch.cuda.is_available(),
            persistent_workers=num_workers > 0,
            multiprocessing_context=_context() if num_workers else None,
            # Seeds of workers, which draw nothing, would otherwise be drawn from the run's own random numbers.
            generator=torch.Generator(),
        )
        self._taken = 0
        self._resumed: tuple[int, int] | None = None  # an epoch, and the batches that were taken of it

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        # A generator: Lightning makes the iterator before it tells the sampler the epoch.
        self._taken = 0
        if isinstance(self.sampler, TrainingSampler):
            if self._resumed is not None and self._resumed[0] == self.sampler.epoch:
                self._taken = self._resumed[1]
            self._resumed = None
            assert self.batch_size is not None
            self.sampler.first = self._taken * self.batch_size
        if self.multiprocessing_context is not None:
            with _waiting((signal.SIGUSR1,)):
                resource_tracker.ensure_running()  # it would let the others through, which are to wait next
        with _waiting(OF_THE_RUN):  # until a worker that is being started can leave them to this process
            batches = super().__iter__()
        for batch in batches:
            self._taken += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        """Say how many batches of which epoch were taken."""
        return {"epoch": getattr(self.sampler, "epoch", 0), "taken": self._taken}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Have the next epoch, if it is the one of the state, begin behind the batches that were taken."""
        self._resumed = state["epoch"], state["taken"]


def _context() -> BaseContext | None:
    """Say how workers are started: where this process talks to others, by a server that does not.

    It has threads then that take the interpreter when they let go of what was sent. A fork at that moment is a child
    that waits for ever, for a lock that CPython has before 3.12, and the run waits with it.
    """
    if not torch.distributed.is_available() or not torch.distributed.is_initialized():
        return None
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["cpnet.data.dataset"])  # else each worker imports torch
    return context


@contextmanager
def _waiting(numbers: Sequence[signal.Signals]) -> Iterator[None]:
    """Have signals wait, here and in the processes that are started."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _follow_the_parent(_: int) -> None:
    """Let the run end a worker when it needs no more, and its own end, and no signal that all of its processes get.

    torch has its workers die of a SIGTERM that is not their parent's, and an error raised there for each that did. And
    it has them outlive a run whose server forked them, and one that was killed before they began.
    """
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    for number in (signal.SIGINT, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    if sys.platform != "linux":  # where it cannot be told whose a signal is
        signal.pthread_sigmask(signal.SIG_UNBLOCK, OF_THE_RUN)
    else:
        signal.pthread_sigmask(signal.SIG_SETMASK, (signal.SIGTERM,))
        threading.Thread(target=_end_when_the_parent_says, daemon=True).start()


def _end_with_the_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(0)


def _end_when_the_parent_says() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    while signal.sigwaitinfo((signal.SIGTERM,)).si_pid != parent.pid:
        pass
    os._exit(0)


def _as_it_is(batch: GroundingBatch | Draw) -> GroundingBatch | Draw:
    """Collate nothing: the dataset gives whole batches."""
    return batch
