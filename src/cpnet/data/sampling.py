"""From the N rows of a video to the T clips of a model, a whole batch at once; the policy belongs to a checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from cpnet.data.gathering import gather_between, gather_means, gather_rows

LAST_PHASE = 1 - 2**-30  # a phase nearer to 1 could be rounded up to the next clip


class Sampling(Protocol):
    """Turns rows into clips: row r covers [r, r + 1) of N, clip i covers [i N/T, (i + 1) N/T).

    The rows of all videos lie in one table, whose last row is 0, for padding; those of pair b are ``starts[b]`` up to
    ``starts[b] + counts[b]``. A ``phase`` in [0, 1) a pair is given in training, None in evaluation. Real clips come
    first.

    Shape: rows (R, V), starts, counts, phase (B,) -> clips (B, T, V) in the type of the rows or in float32, 0 where
    padded, and how many are real (B,) int64; all on the device of the rows
    """

    @property
    def clips(self) -> int:
        """The number of clips T."""
        ...

    def __call__(
        self, rows: Tensor, starts: Tensor, counts: Tensor, *, phase: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Sample the clips of a batch."""
        ...


@dataclass(frozen=True, kw_only=True)
class Pick:
    """One row a clip, at a stride of N/T; where N < T the N rows, padded.

    Takes rows ``round(phase + i N/T)``, clamped, ties upwards. The phase is the same for all clips: uniform in
    [-1/2, N/T - 1/2) in training, its middle (N/T - 1)/2 in evaluation, so that each row lies inside its clip and
    N = T is the identity.

    Raises:
        ValueError: fewer than one clip.

    >>> rows = torch.tensor([[0.0], [1], [2], [3], [4], [5], [0]])
    >>> clips, real = Pick(clips=2)(rows, torch.tensor([0]), torch.tensor([6]))
    >>> clips.flatten().tolist(), real.tolist()
    ([1.0, 4.0], [2])
    """

    clips: int = 128

    def __post_init__(self) -> None:
        _check_clips(self.clips)

    def __call__(
        self, rows: Tensor, starts: Tensor, counts: Tensor, *, phase: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Sample the clips of a batch; see ``Sampling``."""
        i, size = torch.arange(self.clips, device=counts.device), counts[:, None]
        # floor(x + 1/2) rounds, and the phase starts at -1/2. Halves and whole numbers are exact in float64, and so is
        # the row where the quotient is whole; where N < T the stride is 1, and the phase has no effect.
        shift = torch.full_like(size, 0.5, dtype=torch.float64) if phase is None else phase.double()[:, None]
        stretched = (i + shift.clamp_max(LAST_PHASE)).mul_(size.clamp_min(self.clips).double())
        picked = stretched.div_(self.clips).long()
        place = torch.where(picked < size, starts[:, None] + picked, len(rows) - 1)
        return gather_rows(rows, place), counts.clamp_max(self.clips)


@dataclass(frozen=True, kw_only=True)
class MeanPool:
    """The mean of the rows of each clip; a row belongs to the clip in which its centre lies.

    Clip i so takes rows ``round(i N/T)`` up to ``round((i + 1) N/T)``, ties downwards, as 2D-TAN pools. A clip without
    a row, which only N < T has, repeats the row nearest to its centre, so all T are real.

    Raises:
        ValueError: fewer than one clip.

    >>> rows = torch.tensor([[0.0], [1], [2], [3], [4], [5], [0]])
    >>> clips, real = MeanPool(clips=2)(rows, torch.tensor([0]), torch.tensor([6]))
    >>> clips.flatten().tolist(), real.tolist()
    ([1.0, 4.0], [2])
    """

    clips: int = 128

    def __post_init__(self) -> None:
        _check_clips(self.clips)

    def __call__(
        self, rows: Tensor, starts: Tensor, counts: Tensor, *, phase: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Sample the clips of a batch; see ``Sampling``."""
        edges, size = torch.arange(self.clips + 1, device=counts.device), counts[:, None]
        bounds = (2 * size * edges + self.clips - 1) // (2 * self.clips)
        # A clip no wider than a row holds one row at most, and that one is the nearest.
        nearest = (2 * edges[:-1] + 1) * size // (2 * self.clips)
        first = torch.where(size <= self.clips, nearest, bounds[:, :-1])
        sizes = torch.where(size <= self.clips, 1, bounds.diff())
        return gather_means(rows, starts[:, None] + first, sizes), _all_real(counts, self.clips)


@dataclass(frozen=True, kw_only=True)
class Linear:
    """Linear interpolation at the centre of each clip, between the centres of rows; all T are real.

    Clip i lies at ``(i + 1/2) N/T - 1/2`` in rows, clamped to the first and last (``torch.nn.functional.interpolate``
    without ``align_corners``). For N much larger than T rows between are skipped; ``MeanPool`` takes them all.

    Raises:
        ValueError: fewer than one clip.

    >>> rows = torch.tensor([[0.0], [1], [2], [3], [4], [5], [0]])
    >>> clips, real = Linear(clips=2)(rows, torch.tensor([0]), torch.tensor([6]))
    >>> clips.flatten().tolist(), real.tolist()
    ([1.0, 4.0], [2])
    """

    clips: int = 128

    def __post_init__(self) -> None:
        _check_clips(self.clips)

    def __call__(
        self, rows: Tensor, starts: Tensor, counts: Tensor, *, phase: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Sample the clips of a batch; see ``Sampling``."""
        i, last = torch.arange(self.clips, device=counts.device), (counts - 1)[:, None]
        place = ((2 * i + 1) * counts[:, None] / (2 * self.clips) - 0.5).clamp_min(0).minimum(last)
        lower = place.long()
        upper = torch.minimum(lower + 1, last)
        starts, weight = starts[:, None], (place - lower).float()
        clips = gather_between(rows, starts + lower, starts + upper, weight)
        return clips, _all_real(counts, self.clips)


def _check_clips(clips: int) -> None:
    if clips < 1:
        raise ValueError(f"sampling.clips={clips}: a video needs at least one clip")


def _all_real(counts: Tensor, clips: int) -> Tensor:
    return torch.full_like(counts, clips)
