"""The contract between data, model, losses and metrics.

Letters, used in every docstring of the package:

====== ============================================== =========
letter meaning                                        the paper
====== ============================================== =========
B      pairs of a batch                               100
T      clips of a video                               128
L      words of a query, padded to the batch's most   <= 50
D      hidden width of the model                      512
V      width of a video feature                       1024
W      width of a word vector                         300
P      levels of the pyramid, level 0 the finest      3
H      heads of an attention                          8
N      ranked predictions of a pair, best first       1
====== ============================================== =========

Tensors are batch-first, time before channels. Masks are bool and **True = real**. A ``span`` is (start, end) in
fractions of its video, a ``span_sec`` the same in seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

PADDING, UNKNOWN = 0, 1  # the first two rows of every vocabulary


@dataclass(frozen=True, kw_only=True)
class GroundingBatch:
    """Pairs of a video and a query, as a model sees them.

    Shape:
        - video: (B, T, V) features of the clips, 0 where padded; from a loader float16 where they are stored so, which
          ``to`` makes float32
        - video_mask: (B, T) bool, True = a real clip; real clips come first
        - query: (B, L) int64 rows of the vocabulary's word vectors, 0 where padded
        - query_mask: (B, L) bool, True = a real word; real words come first
        - span: (B, 2) true (start, end) in fractions of the video
        - span_sec: (B, 2) float64, the same in seconds
        - duration_sec: (B,) float64 length of each video
        - index: (B,) int64 row of each pair in its split
        - video_index: None, or (B,) int64 where pairs share videos: ``video`` and ``video_mask`` then hold each video
          once, and pair b has row ``video_index[b]`` of them
    """

    video: Tensor
    video_mask: Tensor
    query: Tensor
    query_mask: Tensor
    span: Tensor
    span_sec: Tensor
    duration_sec: Tensor
    index: Tensor
    video_index: Tensor | None = None

    def __len__(self) -> int:
        return self.query.shape[0]

    @property
    def clip_mask(self) -> Tensor:
        """Shape: (B, T) bool, the ``video_mask`` of each pair."""
        return self.video_mask if self.video_index is None else self.video_mask[self.video_index]

    def none(self) -> GroundingBatch:
        """Give the same without its pairs."""
        return self._each(lambda tensor: tensor[:0])

    def per_pair(self) -> GroundingBatch:
        """Give each pair a row of ``video`` of its own, as models take it that do not say ``shares_videos``."""
        if self.video_index is None:
            return self
        video, video_mask = self.video[self.video_index], self.video_mask[self.video_index]
        return replace(self, video=video, video_mask=video_mask, video_index=None)

    def to(self, device: torch.device | str) -> GroundingBatch:
        """Copy every tensor to ``device``, without waiting where its memory is page-locked; features become float32."""
        moved = self._each(lambda tensor: tensor.to(device, non_blocking=tensor.is_pinned()))
        return replace(moved, video=moved.video.float())

    def pin_memory(self) -> GroundingBatch:
        """Copy every tensor to page-locked memory, as a ``DataLoader`` asks for it."""
        return self._each(Tensor.pin_memory)

    def _each(self, copy: Callable[[Tensor], Tensor]) -> GroundingBatch:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{name: copy(value) for name, value in values.items() if value is not None})


@dataclass(frozen=True, kw_only=True)
class AttentionMaps:
    """What a model attended to; for looking at, never for the loss.

    Shape:
        - query: (B, T, L) ``S_q``, each row a distribution over words (CPNet, Eq. 2-3)
        - video: (B, T, L) ``S_v``, each column a distribution over clips
        - levels: P tensors (B, T_p, T_p), ``M`` of each level from the finest (CPNet, Eq. 6); empty without CAM
    """

    query: Tensor
    video: Tensor
    levels: tuple[Tensor, ...]


@dataclass(frozen=True, kw_only=True)
class GroundingOutput:
    """What a model answers.

    Shape:
        - span: (B, 2) predicted (start, end) in fractions of the video, as regressed: it may be reversed
        - ranked: (B, N, 2) decoded predictions, best first, which metrics and predictions use
        - log_attention: (B, T) log of the temporal attention, ``-inf``-like where padded
        - maps: the attention maps, where they were asked for
    """

    span: Tensor
    ranked: Tensor
    log_attention: Tensor
    maps: AttentionMaps | None = None
