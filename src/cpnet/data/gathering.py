"""Rows of one table, gathered for a whole batch in one operation, into memory that is used again."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

Allocate = Callable[[torch.Size | tuple[int, ...], torch.dtype, torch.device], Tensor]

BLOCK_BYTES = 1 << 21  # of rows in float32 that wait for their sum; measured, see benchmarks/loader.py


def fresh(shape: torch.Size | tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Give uninitialised memory."""
    return torch.empty(shape, dtype=dtype, device=device)


class RecycledMemory:
    """Gives the memory of an earlier tensor again once nothing refers to that tensor any more.

    The system hands out large memory page by page and zeroed, which takes several times as long as writing a batch
    to it. At most ``most`` tensors are kept; a batch that somebody holds on to is never written to again.

    >>> memory = RecycledMemory()
    >>> batch = memory((1000, 300), torch.float32, torch.device("cpu"))
    >>> place = batch.data_ptr()
    >>> other = memory((1000, 300), torch.float32, torch.device("cpu"))
    >>> other.data_ptr() == place
    False
    >>> del batch
    >>> memory((1000, 300), torch.float32, torch.device("cpu")).data_ptr() == place
    True
    """

    def __init__(self, most: int = 4) -> None:
        self.most = most
        self._kept: list[NDArray[np.uint8]] = []

    def __getstate__(self) -> dict[str, Any]:
        return {"most": self.most, "_kept": []}

    def __call__(self, shape: torch.Size | tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
        """Give uninitialised memory; on another device than the CPU, whose allocator keeps its own, fresh one."""
        if device.type != "cpu":
            return fresh(shape, dtype, device)
        size = math.prod(shape) * dtype.itemsize
        for place in reversed(range(len(self._kept))):  # what was used last may be in a cache still
            if self._kept[place].nbytes >= size and _references(self._kept, place) == UNUSED:
                memory = self._kept.pop(place)
                break
        else:
            # What is free but too small goes: a pack's batches vary in size, and the largest will do for all.
            kept = range(len(self._kept))
            self._kept = [self._kept[place] for place in kept if _references(self._kept, place) > UNUSED]
            memory = np.empty(max(size, 1), np.uint8)
        self._kept = [*self._kept, memory][-self.most :]
        return torch.from_numpy(memory)[:size].view(dtype).view(shape)


def _references(memories: list[NDArray[np.uint8]], place: int) -> int:
    """Count who refers to a memory: each tensor made of it, its views and the graphs that saved them do."""
    return sys.getrefcount(memories[place])


UNUSED = _references([np.empty(1, np.uint8)], 0)  # nobody but the list; not the same in every version of Python


def gather_rows(rows: Tensor, index: Tensor, *, allocate: Allocate = fresh) -> Tensor:
    """Take a row of the table for each clip.

    Shape: rows (R, V), index (B, T) int64 -> (B, T, V) in the type of the rows
    """
    out = allocate((*index.shape, rows.shape[1]), rows.dtype, rows.device)
    torch.index_select(rows, 0, index.flatten(), out=out.view(-1, rows.shape[1]))
    return out


def gather_between(rows: Tensor, lower: Tensor, upper: Tensor, weight: Tensor, *, allocate: Allocate = fresh) -> Tensor:
    """Interpolate between two rows of the table for each clip, in float32; weight 0 gives the lower one.

    Shape: rows (R, V), lower and upper (B, T) int64, weight (B, T) float32 -> (B, T, V) float32
    """
    out = allocate((*lower.shape, rows.shape[1]), torch.float32, rows.device)
    flat, lower, upper, weight = out.view(-1, rows.shape[1]), lower.flatten(), upper.flatten(), weight.view(-1, 1)
    for part in _blocks(len(flat), rows, per_clip=2):
        below, above = rows.index_select(0, lower[part]).float(), rows.index_select(0, upper[part]).float()
        # This form gives back a constant exactly.
        torch.add(below, above.sub_(below).mul_(weight[part]), out=flat[part])
    return out


def gather_means(rows: Tensor, first: Tensor, sizes: Tensor, *, allocate: Allocate = fresh) -> Tensor:
    """Take the mean of ``sizes`` rows of the table from ``first`` on for each clip, added up in float32.

    Shape: rows (R, V), first and sizes (B, T) int64, sizes >= 1 -> (B, T, V) float32
    """
    out = allocate((*first.shape, rows.shape[1]), torch.float32, rows.device)
    flat, first, sizes = out.view(-1, rows.shape[1]), first.flatten(), sizes.flatten()
    for part in _blocks(len(flat), rows, per_clip=int(sizes.max())):
        ends = sizes[part].cumsum(0)
        offsets = ends - sizes[part]
        places = torch.arange(int(ends[-1]), device=rows.device)
        chunk = rows.index_select(0, places + (first[part] - offsets).repeat_interleave(sizes[part])).float()
        flat[part] = functional.embedding_bag(places, chunk, offsets, mode="mean")
    return out


def _blocks(clips: int, rows: Tensor, *, per_clip: int) -> Iterator[slice]:
    """Cut a batch so that the rows that wait in float32 stay in a processor's cache; a GPU takes it whole."""
    size = max(1, BLOCK_BYTES // (4 * rows.shape[1] * per_clip)) if rows.device.type == "cpu" else clips
    return (slice(begin, begin + size) for begin in range(0, clips, size))
