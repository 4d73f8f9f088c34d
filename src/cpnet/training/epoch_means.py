"""Means of losses and other scalars over an epoch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import torch
from torch import Tensor

T = TypeVar("T")


def gather(own: T) -> list[T]:
    """Return the objects of all processes. All processes call this together."""
    processes = [own]
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        processes *= torch.distributed.get_world_size()
        torch.distributed.all_gather_object(processes, own)
    return processes


class EpochMeans:
    """Weighted means of scalars over the batches of an epoch and over all processes.

    Values stay on their device until they are needed, because each read waits for the GPU. The host sums them in
    float64, in the order of the batches, so that a checkpoint within an epoch does not change the result.

    >>> means = EpochMeans()
    >>> means.add({"loss": 1.0}, weight=3)
    >>> means.add({"loss": 5.0}, weight=1)
    >>> means.compute()
    {'loss': 2.0}
    """

    def __init__(self) -> None:
        self._sums: dict[str, tuple[float, int]] = {}  # weighted sum and weight
        self._waiting: list[tuple[str, Tensor | float, int]] = []

    def add(self, values: Mapping[str, Tensor | float], *, weight: int) -> None:
        """Add means over ``weight`` pairs or steps."""
        for name, value in values.items():
            self._waiting.append((name, value.detach() if isinstance(value, Tensor) else value, weight))

    def compute(self) -> dict[str, float]:
        """Return the means over all processes and reset. All processes call this together; names may differ."""
        sums = self.state_dict()
        self._sums = {}
        processes = gather(sums)
        means = {}
        for name in dict.fromkeys(name for each in processes for name in each):
            totals, weights = zip(*(each[name] for each in processes if name in each), strict=True)
            means[name] = sum(totals) / sum(weights)
        return means

    def state_dict(self) -> dict[str, tuple[float, int]]:
        """Return weighted sum and weight of each name on this process."""
        tensors = [value for _, value, _ in self._waiting if isinstance(value, Tensor)]
        read = iter(torch.stack(tensors).tolist() if tensors else [])  # one transfer
        for name, value, weight in self._waiting:
            total, count = self._sums.get(name, (0.0, 0))
            number = next(read) if isinstance(value, Tensor) else value
            self._sums[name] = (total + number * weight, count + weight)
        self._waiting = []
        return dict(self._sums)

    def load_state_dict(self, state: Mapping[str, tuple[float, int]]) -> None:
        """Restore the sums that ``state_dict`` returned."""
        self._waiting, self._sums = [], {name: (total, count) for name, (total, count) in state.items()}
