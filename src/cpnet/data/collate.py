"""From the pairs of a split to a batch of some of them, as one operation on tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import cache
from itertools import chain

import numpy as np
import torch
from torch import Tensor

from cpnet.batch import PADDING, GroundingBatch
from cpnet.data.moment import Moment
from cpnet.data.rows import Rows
from cpnet.data.sampling import Sampling


@dataclass(frozen=True, kw_only=True)
class Draw:
    """Which pairs make a batch; the batch itself is made on the device of these tensors.

    Shape: index (B,) int64 rows of the split; phase (B,) float64 in [0, 1), None in evaluation

    Attributes:
        split: name of the split
        words: L, of the longest query
        share_videos: the batch carries each video once, and ``video_index`` tells which one a pair has
    """

    split: str
    words: int
    index: Tensor
    phase: Tensor | None = None
    share_videos: bool = False

    def to(self, device: torch.device | str) -> Draw:
        """Copy the tensors to a device, without waiting for it."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Draw:
        """Copy the tensors to page-locked memory, as a ``DataLoader`` asks for it."""
        return self._each(Tensor.pin_memory)

    def _each(self, copy: Callable[[Tensor], Tensor]) -> Draw:
        return replace(self, index=copy(self.index), phase=None if self.phase is None else copy(self.phase))


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """All pairs of a split as tensors.

    Shape:
        - video: (pairs,) int64 number of each pair's video
        - query: (pairs, longest) int64 rows of the vocabulary, 0 where padded
        - words: (pairs,) int64 words of each query
        - span: (pairs, 2) in fractions of the video, cut to it
        - span_sec: (pairs, 2) float64
        - duration_sec: (pairs,) float64
    """

    video: Tensor
    query: Tensor
    words: Tensor
    span: Tensor
    span_sec: Tensor
    duration_sec: Tensor

    @classmethod
    def of(cls, moments: Sequence[Moment], *, queries: Sequence[Sequence[int]], videos: Sequence[int]) -> Pairs:
        """Make the tensors from the moments, the rows of their words, and the numbers of their videos."""
        words = torch.tensor([len(query) for query in queries])
        # A tensor a query, as for pad_sequence, would take a hundred times the memory of its words.
        query = torch.full((len(queries), int(words.max())), PADDING)
        query[_first(words, query.shape[1])] = torch.from_numpy(np.fromiter(chain.from_iterable(queries), np.int64))
        span_sec = torch.tensor([(m.start_sec, m.end_sec) for m in moments], dtype=torch.float64)
        duration_sec = torch.tensor([m.duration_sec for m in moments], dtype=torch.float64)
        return cls(
            video=torch.tensor(videos),
            query=query,
            words=words,
            span=(span_sec / duration_sec[:, None]).clamp(0, 1).float(),
            span_sec=span_sec,
            duration_sec=duration_sec,
        )

    def to(self, device: torch.device | str) -> Pairs:
        """Copy every tensor to a device."""
        return replace(self, **{field.name: getattr(self, field.name).to(device) for field in fields(self)})


def collate(
    pairs: Pairs,
    draw: Draw,
    *,
    rows: Rows,
    sampling: Sampling,
    blind_to_video: bool = False,
) -> GroundingBatch:
    """Make the batch of a draw, on the device of its tensors and of the pairs.

    Args:
        pairs: the pairs of the split
        draw: which of them, and at which phase
        rows: where the features lie
        sampling: from rows to T clips
        blind_to_video: gives zeros instead of the features, with their mask

    Raises:
        DataError: features cannot be read.
    """
    index, video_index = draw.index, None
    videos = pairs.video.index_select(0, index)
    if draw.share_videos:
        videos, video_index = torch.unique(videos, return_inverse=True)
    fetched = rows.fetch(videos)
    video, real = sampling(fetched.rows, fetched.starts, fetched.counts, phase=draw.phase)
    return GroundingBatch(
        video=torch.zeros_like(video) if blind_to_video else video,
        video_mask=_first(real, video.shape[1]),
        query=pairs.query[:, : draw.words].index_select(0, index),
        query_mask=_first(pairs.words.index_select(0, index), draw.words),
        span=pairs.span.index_select(0, index),
        span_sec=pairs.span_sec.index_select(0, index),
        duration_sec=pairs.duration_sec.index_select(0, index),
        index=index,
        video_index=video_index,
    )


def _first(counts: Tensor, size: int) -> Tensor:
    """Mask (B, size) that is True on the first ``counts`` places."""
    return _masks(size, counts.device).index_select(0, counts)


@cache
def _masks(size: int, device: torch.device) -> Tensor:
    """Mask (size + 1, size) of every count; taking rows of it is quicker than comparing anew for each batch."""
    return torch.ones(size + 1, size, dtype=torch.bool, device=device).tril(-1)
