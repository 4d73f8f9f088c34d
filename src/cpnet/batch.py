"""The contract between data, model, losses and metrics.

Letters, used in every docstring of the package:

====== ============================================== =========
letter meaning                                        the paper
====== ============================================== =========
B      pairs in a batch                               100
T      clips of a video                               128
L      words of the longest query in the batch        <= 50
D      hidden width of the model                      512
V      width of a video feature                       1024
W      width of a word vector                         300
P      levels of the pyramid, level 0 the finest      3
H      heads of an attention                          8
N      ranked predictions per pair, best first        1
K      true windows of a query, at most               1
====== ============================================== =========

Tensors are batch-first, time before channels. Masks are bool and **True = real**. A ``span`` is (start, end) in
fractions of its video, a ``span_sec`` is in seconds. ``windows`` are the true spans of a query: it may have several.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

PADDING, UNKNOWN = 0, 1  # the first two rows of every vocabulary


@dataclass(frozen=True, kw_only=True)
class GroundingBatch:
    """Pairs of a video and a query, the input of a model.

    Shape:
        - video: (B, T, V) features of the clips, 0 where padded; float16 from a float16 store, float32 after ``to``
        - video_mask: (B, T) bool, True = real clip; real clips come first
        - query: (B, L) int64 rows of the vocabulary's word vectors, 0 where padded
        - query_mask: (B, L) bool, True = real word; real words come first
        - windows: (B, K, 2) all true (start, end) of each query in fractions of the video; a pair with fewer repeats
          its first, which changes neither a maximum nor a union over K; K = 0 if the split has no true windows
        - windows_sec: (B, K, 2) float64, the same in seconds, on the host
        - duration_sec: (B,) float64 length of each video, on the host
        - index: (B,) int64 position of each pair in its split
        - video_index: None, or (B,) int64 if pairs share videos: ``video`` and ``video_mask`` then hold each video
          once, and pair b uses row ``video_index[b]``
    """

    video: Tensor
    video_mask: Tensor
    query: Tensor
    query_mask: Tensor
    windows: Tensor
    windows_sec: Tensor
    duration_sec: Tensor
    index: Tensor
    video_index: Tensor | None = None

    def __len__(self) -> int:
        return self.query.shape[0]

    @property
    def clip_mask(self) -> Tensor:
        """Return the ``video_mask`` of each pair. Shape: (B, T) bool"""
        return self.of_pairs(self.video_mask)

    def of_pairs(self, x: Tensor) -> Tensor:
        """Return the row of each pair's video, of what a model computes once per video. Shape: (V, ...) -> (B, ...)"""
        return x if self.video_index is None else x[self.video_index]

    def none(self) -> GroundingBatch:
        """Return an empty batch with the same dtypes and widths."""
        return self._each(lambda tensor: tensor[:0])

    def for_model(self, model: object) -> GroundingBatch:
        """Return the batch that a model takes: with one row of ``video`` per pair, unless it ``shares_videos``."""
        return self if getattr(model, "shares_videos", False) else self.per_pair()

    def per_pair(self) -> GroundingBatch:
        """Return the batch with one row of ``video`` per pair."""
        if self.video_index is None:
            return self
        return replace(self, video=self.of_pairs(self.video), video_mask=self.clip_mask, video_index=None)

    def to(self, device: torch.device | str) -> GroundingBatch:
        """Copy tensors to ``device``, asynchronously from page-locked memory; features become float32.

        float64 tensors stay where they are: they are for the host, and Apple's MPS has no float64.
        """

        def moved(tensor: Tensor) -> Tensor:
            return tensor if tensor.dtype == torch.float64 else tensor.to(device, non_blocking=tensor.is_pinned())

        batch = self._each(moved)
        return replace(batch, video=batch.video.float())

    def pin_memory(self) -> GroundingBatch:
        """Copy every tensor of the host to page-locked memory; the ``DataLoader`` calls it."""
        return self._each(lambda tensor: tensor.pin_memory() if tensor.device.type == "cpu" else tensor)

    def _each(self, copy: Callable[[Tensor], Tensor]) -> GroundingBatch:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{name: copy(value) for name, value in values.items() if value is not None})


@dataclass(frozen=True, kw_only=True)
class AttentionMaps:
    """Attention of a model, for inspection; never part of the loss.

    Shape:
        - query: (B, T, L) ``S_q``, each row is a distribution over words (CPNet, Eq. 2-3)
        - video: (B, T, L) ``S_v``, each column is a distribution over clips
        - levels: P tensors (B, T_p, T_p), ``M`` of each level, finest first (CPNet, Eq. 6); empty without CAM

    A step of T covers ``clips_per_step`` clips, one of level p ``clips_per_step * 2 ** p``.
    """

    query: Tensor
    video: Tensor
    levels: tuple[Tensor, ...]
    clips_per_step: int = 1


@dataclass(frozen=True, kw_only=True)
class GroundingOutput:
    """Output of a model.

    Shape:
        - span: (B, 2) predicted (start, end) in fractions of the video, as regressed; may be reversed
        - ranked: (B, N, 2) decoded predictions, best first, as used by metrics and predictions
        - log_attention: None for models without it, or (B, T) log of the temporal attention, very negative where padded
        - scores: None, or (B, N) score of each ranked prediction, comparable between videos; -inf where a pair has
          fewer predictions, which repeat its first
        - maps: the attention maps, if requested
    """

    span: Tensor
    ranked: Tensor
    log_attention: Tensor | None = None
    scores: Tensor | None = None
    maps: AttentionMaps | None = None
