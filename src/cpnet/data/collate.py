"""Build a batch from pairs of a split with a few tensor operations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import torch
from torch import Tensor

from cpnet.batch import PADDING, GroundingBatch
from cpnet.data.features.placement import PlacedFeatures
from cpnet.data.moment import Moment
from cpnet.data.sampling import Sampling
from cpnet.data.times import times


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """All pairs of a split as tensors."""

    video: Tensor  # (pairs,) int64 number of each pair's video
    query: Tensor  # (pairs, longest) int64 rows of the vocabulary, 0 where padded
    words: Tensor  # (pairs,) int64 number of words of each query
    windows: Tensor  # (pairs, K, 2) float32 in fractions of the video, clipped to it
    windows_sec: Tensor  # (pairs, K, 2) float64
    duration_sec: Tensor  # (pairs,) float64

    @classmethod
    def of(cls, moments: Sequence[Moment], *, queries: Sequence[Sequence[int]], videos: Sequence[int]) -> Pairs:
        """Build the tensors from moments, the vocabulary rows of their words, and the numbers of their videos."""
        words = torch.tensor([len(query) for query in queries])
        # pad_sequence would need one tensor per query, which takes a hundred times the memory of its words.
        query = torch.full((len(queries), int(words.max())), PADDING)
        query[_first(words, query.shape[1])] = torch.from_numpy(np.fromiter(chain.from_iterable(queries), np.int64))
        windows_sec, duration_sec = map(torch.from_numpy, times(moments))
        return cls(
            video=torch.tensor(videos),
            query=query,
            words=words,
            windows=(windows_sec / duration_sec[:, None, None]).clamp(0, 1).float(),
            windows_sec=windows_sec,
            duration_sec=duration_sec,
        )


def collate(
    pairs: Pairs,
    index: Tensor,
    *,
    features: PlacedFeatures,
    sampling: Sampling,
    phase: Tensor | None = None,
    share_videos: bool = False,
    change: Callable[[Tensor, Tensor, Tensor], Tensor] | None = None,
) -> GroundingBatch:
    """Build a batch of pairs on the host, and its clips on the device of the features.

    ``share_videos`` holds each video once. ``change`` maps the clips, the numbers of real clips and the numbers of the
    videos to other clips with the same mask.

    Shape: index (B,) int64 rows of the split; phase (B,) float64 in [0, 1) of each pair's clips, None in evaluation

    Raises:
        DataError: features cannot be read
    """
    videos, video_index = pairs.video.index_select(0, index), None
    if share_videos:
        videos, video_index = torch.unique(videos, return_inverse=True)
    rows = features.fetch(videos)
    video, real = sampling(rows.table, rows.starts, rows.counts, phase=phase)
    words = pairs.words.index_select(0, index)
    longest = int(words.max())
    return GroundingBatch(
        video=video if change is None else change(video, real, videos),
        video_mask=_first(real, video.shape[1]),
        query=pairs.query[:, :longest].index_select(0, index),
        query_mask=_first(words, longest),
        windows=pairs.windows.index_select(0, index),
        windows_sec=pairs.windows_sec.index_select(0, index),
        duration_sec=pairs.duration_sec.index_select(0, index),
        index=index,
        video_index=video_index,
    )


def _first(counts: Tensor, size: int) -> Tensor:
    """Return a mask (B, size) that is True in the first ``counts`` places."""
    return torch.arange(size) < counts[:, None]
