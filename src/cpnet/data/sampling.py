"""Sampling policies, which turn the N rows of a video into the T clips of a model, a whole batch at once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from cpnet.errors import ConfigError

LAST_PHASE = 1 - 2**-30  # a phase closer to 1 could be rounded up to the next clip
BLOCK_BYTES = 1 << 22  # bytes of float32 rows processed at once; tuned with benchmarks/loader.py


@dataclass(frozen=True, kw_only=True)
class Sampling(ABC):
    """Turns rows into clips: row r covers [r, r + 1) of N, clip i covers [i N/T, (i + 1) N/T).

    One table has the rows of all videos, then a row of zeros for padding. Pair b has ``counts[b]`` rows from
    ``starts[b]``. Training passes a ``phase`` in [0, 1) for each pair, evaluation None. Real clips precede padding.

    Shape: rows (R, V), starts, counts, phase (B,) -> clips (B, T, V) in the type of the rows or in float32, 0 where
    padded, on the device of the rows, and the number of real clips (B,) int64; all else is on the host, which computes
    the indices without waiting for a GPU

    Raises:
        ConfigError: ``clips`` is below 1
    """

    clips: int  # T

    def __post_init__(self) -> None:
        if self.clips < 1:
            raise ConfigError(f"sampling.clips must be 1 or more; got {self.clips}")

    @abstractmethod
    def __call__(
        self, rows: Tensor, starts: Tensor, counts: Tensor, *, phase: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Sample the clips of a batch."""


@dataclass(frozen=True, kw_only=True)
class Pick(Sampling):
    """Pick one row per clip at a stride of N/T. If N < T, return the N rows and padding.

    Picks rows ``round(phase + i N/T)``, clamped, ties upwards. The phase is the same for all clips of a video: uniform
    in [-1/2, N/T - 1/2) in training, its middle (N/T - 1)/2 in evaluation. Each row is therefore inside its clip, and
    N = T is the identity.

    >>> rows = torch.tensor([[0.0], [1], [2], [3], [4], [5], [0]])
    >>> clips, real = Pick(clips=2)(rows, torch.tensor([0]), torch.tensor([6]))
    >>> clips.flatten().tolist(), real.tolist()
    ([1.0, 4.0], [2])
    """

    def __call__(
        self, rows: Tensor, starts: Tensor, counts: Tensor, *, phase: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Sample the clips of a batch; see ``Sampling``."""
        i, size = torch.arange(self.clips), counts[:, None]
        # floor(x + 1/2) rounds; its 1/2 cancels the phase's lower bound of -1/2. Halves and integers are exact in
        # float64, so integer quotients are exact rows. If N < T, the stride is 1 and the phase has no effect.
        shift = torch.full_like(size, 0.5, dtype=torch.float64) if phase is None else phase.double()[:, None]
        stretched = (i + shift.clamp_max(LAST_PHASE)).mul_(size.clamp_min(self.clips).double())
        picked = stretched.div_(self.clips).long()
        place = torch.where(picked < size, starts[:, None] + picked, len(rows) - 1)
        clips = rows.index_select(0, copy_to(place.flatten(), rows.device)).view(*place.shape, -1)
        return clips, counts.clamp_max(self.clips)


@dataclass(frozen=True, kw_only=True)
class MeanPool(Sampling):
    """Average the rows of each clip. A row belongs to the clip that contains its centre.

    Clip i averages rows ``round(i N/T)`` up to ``round((i + 1) N/T)``, ties downwards, as 2D-TAN does. If N < T, a
    clip without a row repeats the row nearest to its centre. All T clips are real.

    >>> rows = torch.tensor([[0.0], [1], [2], [3], [4], [5], [0]])
    >>> clips, real = MeanPool(clips=2)(rows, torch.tensor([0]), torch.tensor([6]))
    >>> clips.flatten().tolist(), real.tolist()
    ([1.0, 4.0], [2])
    """

    def __call__(
        self, rows: Tensor, starts: Tensor, counts: Tensor, *, phase: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Sample the clips of a batch; see ``Sampling``."""
        edges, size = torch.arange(self.clips + 1), counts[:, None]
        bounds = (2 * size * edges + self.clips - 1) // (2 * self.clips)
        # A clip no wider than a row has at most one row, and that row is the nearest.
        nearest = (2 * edges[:-1] + 1) * size // (2 * self.clips)
        first = torch.where(size <= self.clips, nearest, bounds[:, :-1])
        sizes = torch.where(size <= self.clips, 1, bounds.diff())
        return gather_means(rows, starts[:, None] + first, sizes), torch.full_like(counts, self.clips)


@dataclass(frozen=True, kw_only=True)
class Interpolate(Sampling):
    """Interpolate linearly between the centres of rows at the centre of each clip. All T clips are real.

    Clip i is at ``(i + 1/2) N/T - 1/2`` in rows, clamped to the first and last (``torch.nn.functional.interpolate``
    without ``align_corners``). If N is much larger than T, the rows in between are skipped; ``MeanPool`` uses all.

    >>> rows = torch.tensor([[0.0], [1], [2], [3], [4], [5], [0]])
    >>> clips, real = Interpolate(clips=2)(rows, torch.tensor([0]), torch.tensor([6]))
    >>> clips.flatten().tolist(), real.tolist()
    ([1.0, 4.0], [2])
    """

    def __call__(
        self, rows: Tensor, starts: Tensor, counts: Tensor, *, phase: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Sample the clips of a batch; see ``Sampling``."""
        i, last = torch.arange(self.clips), (counts - 1)[:, None]
        place = ((2 * i + 1) * counts[:, None] / (2 * self.clips) - 0.5).clamp_min(0).minimum(last)
        lower = place.long()
        upper = torch.minimum(lower + 1, last)
        starts, weight = starts[:, None], (place - lower).float()
        clips = gather_between(rows, starts + lower, starts + upper, weight)
        return clips, torch.full_like(counts, self.clips)


def gather_between(rows: Tensor, lower: Tensor, upper: Tensor, weight: Tensor) -> Tensor:
    """Interpolate between two rows of the table for each clip, in float32; weight 0 returns the lower row.

    Shape: rows (R, V), lower and upper (B, T) int64, weight (B, T) float32 -> (B, T, V) float32
    """
    out = rows.new_empty(*lower.shape, rows.shape[1], dtype=torch.float32)
    flat = out.view(-1, rows.shape[1])
    lower, upper, weight = (copy_to(each.flatten(), rows.device) for each in (lower, upper, weight))
    for part in _blocks(len(flat), rows, per_clip=2):
        below, above = rows.index_select(0, lower[part]).float(), rows.index_select(0, upper[part]).float()
        # In this form, two equal rows return exactly their value.
        torch.add(below, above.sub_(below).mul_(weight[part, None]), out=flat[part])
    return out


def gather_means(rows: Tensor, first: Tensor, sizes: Tensor) -> Tensor:
    """Return each clip's mean of ``sizes`` consecutive rows of the table, starting at ``first``, summed in float32.

    Shape: rows (R, V), first and sizes (B, T) int64, sizes >= 1 -> (B, T, V) float32
    """
    out = rows.new_empty(*first.shape, rows.shape[1], dtype=torch.float32)
    flat, first, sizes = out.view(-1, rows.shape[1]), first.flatten(), sizes.flatten()
    ends = sizes.cumsum(0)
    offsets = ends - sizes
    count = torch.arange(int(ends[-1]))
    places = count + (first - offsets).repeat_interleave(sizes)
    for part in _blocks(len(flat), rows, per_clip=-(-len(places) // len(flat))):
        begin, end = int(offsets[part.start]), int(ends[part][-1])
        chunk = rows.index_select(0, copy_to(places[begin:end], rows.device)).float()
        of_chunk, starts = copy_to(count[: end - begin], rows.device), copy_to(offsets[part] - begin, rows.device)
        flat[part] = functional.embedding_bag(of_chunk, chunk, starts, mode="mean")
    return out


def copy_to(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor to a device without waiting for it, which takes page-locked memory."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def _blocks(clips: int, rows: Tensor, *, per_clip: int) -> Iterator[slice]:
    """Split a batch into blocks whose float32 rows fit into the CPU cache; a GPU takes one block."""
    size = max(1, BLOCK_BYTES // (4 * rows.shape[1] * per_clip)) if rows.device.type == "cpu" else clips
    return (slice(begin, begin + size) for begin in range(0, clips, size))
