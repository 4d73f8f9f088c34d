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

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

PADDING, UNKNOWN = 0, 1  # the first two rows of every vocabulary


@dataclass(frozen=True, kw_only=True)
class GroundingBatch:
    """Pairs of a video and a query, as a model sees them.

    Shape:
        - video: (B, T, V) features of the clips, 0 where padded
        - video_mask: (B, T) bool, True = a real clip; real clips come first
        - query: (B, L) int64 rows of the vocabulary's word vectors, 0 where padded
        - query_mask: (B, L) bool, True = a real word; real words come first
        - span: (B, 2) true (start, end) in fractions of the video
        - span_sec: (B, 2) float64, the same in seconds
        - duration_sec: (B,) float64 length of each video
        - index: (B,) int64 row of each pair in its split
    """

    video: Tensor
    video_mask: Tensor
    query: Tensor
    query_mask: Tensor
    span: Tensor
    span_sec: Tensor
    duration_sec: Tensor
    index: Tensor

    def __len__(self) -> int:
        return self.video.shape[0]

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> GroundingBatch:
        """Copy every tensor to ``device``."""
        moved = {f.name: getattr(self, f.name).to(device, non_blocking=non_blocking) for f in fields(self)}
        return replace(self, **moved)

    def pin_memory(self) -> GroundingBatch:
        """Copy every tensor to page-locked memory, as a ``DataLoader`` asks for it."""
        return replace(self, **{f.name: getattr(self, f.name).pin_memory() for f in fields(self)})


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
