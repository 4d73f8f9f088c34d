"""Rows of one table, gathered for a whole batch in one operation."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional

BLOCK_BYTES = 1 << 22  # of rows in float32 that wait for their sum; measured, see benchmarks/loader.py


def gather_rows(rows: Tensor, index: Tensor) -> Tensor:
    """Take a row of the table for each clip.

    Shape: rows (R, V), index (B, T) int64 -> (B, T, V) in the type of the rows
    """
    return rows.index_select(0, index.flatten()).view(*index.shape, rows.shape[1])


def gather_between(rows: Tensor, lower: Tensor, upper: Tensor, weight: Tensor) -> Tensor:
    """Interpolate between two rows of the table for each clip, in float32; weight 0 gives the lower one.

    Shape: rows (R, V), lower and upper (B, T) int64, weight (B, T) float32 -> (B, T, V) float32
    """
    out = rows.new_empty(*lower.shape, rows.shape[1], dtype=torch.float32)
    flat, lower, upper, weight = out.view(-1, rows.shape[1]), lower.flatten(), upper.flatten(), weight.view(-1, 1)
    for part in _blocks(len(flat), rows, per_clip=2):
        below, above = rows.index_select(0, lower[part]).float(), rows.index_select(0, upper[part]).float()
        # This form gives back a constant exactly.
        torch.add(below, above.sub_(below).mul_(weight[part]), out=flat[part])
    return out


def gather_means(rows: Tensor, first: Tensor, sizes: Tensor) -> Tensor:
    """Take the mean of ``sizes`` rows of the table from ``first`` on for each clip, added up in float32.

    Shape: rows (R, V), first and sizes (B, T) int64, sizes >= 1 -> (B, T, V) float32
    """
    out = rows.new_empty(*first.shape, rows.shape[1], dtype=torch.float32)
    flat, first, sizes = out.view(-1, rows.shape[1]), first.flatten(), sizes.flatten()
    ends = sizes.cumsum(0)
    offsets = ends - sizes
    count = torch.arange(int(ends[-1]), device=rows.device)
    places = count + (first - offsets).repeat_interleave(sizes)
    for part in _blocks(len(flat), rows, per_clip=-(-len(places) // len(flat))):
        begin, end = int(offsets[part.start]), int(ends[part][-1])
        chunk = rows.index_select(0, places[begin:end]).float()
        flat[part] = functional.embedding_bag(count[: end - begin], chunk, offsets[part] - begin, mode="mean")
    return out


def _blocks(clips: int, rows: Tensor, *, per_clip: int) -> Iterator[slice]:
    """Cut a batch so that the rows that wait in float32 stay in a processor's cache; a GPU takes it whole."""
    size = max(1, BLOCK_BYTES // (4 * rows.shape[1] * per_clip)) if rows.device.type == "cpu" else clips
    return (slice(begin, begin + size) for begin in range(0, clips, size))
