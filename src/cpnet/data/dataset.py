"""The only Dataset: pairs of any corpus, of which it gives whole batches."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.utils.data import Dataset

from cpnet.batch import PADDING, GroundingBatch
from cpnet.data.collate import Draw, Pairs, collate
from cpnet.data.identity import normalise_id
from cpnet.data.moment import Moment
from cpnet.data.rows import Rows
from cpnet.data.sampling import Sampling
from cpnet.data.vocabulary import Vocabulary

Blind = Literal["none", "video", "query"]
Order = Literal["split", "length", "video"]


class GroundingDataset(Dataset[GroundingBatch | Draw]):
    """Pairs of one split.

    Args:
        moments: the split's pairs
        split: its name
        rows: where the features of all videos lie
        videos: number of each video, by normalised id
        sampling: from rows to T clips
        vocabulary: from words to rows of word vectors
        max_words: longer queries are cut
        training: samples clips with a random phase, drawn from torch's generator, where the policy has one
        blind: gives zeros instead of the video's features, or instead of the query's words, and keeps their masks
        on_device: gives a ``Draw``, of which ``batch`` makes the batch where the features lie

    Raises:
        DataError: a query has no word
    """

    def __init__(
        self,
        moments: Sequence[Moment],
        *,
        split: str,
        rows: Rows,
        videos: Mapping[str, int],
        sampling: Sampling,
        vocabulary: Vocabulary,
        max_words: int,
        training: bool,
        blind: Blind = "none",
        on_device: bool = False,
    ) -> None:
        self.moments, self.split, self.rows, self.sampling = moments, split, rows, sampling
        self.training, self.blind, self.on_device = training, blind, on_device
        self.share_videos = False
        queries = [vocabulary.encode(moment.query, max_words=max_words) for moment in moments]
        if blind == "query":
            queries = [[PADDING] * len(query) for query in queries]
        numbers = [videos[normalise_id(moment.video)] for moment in moments]
        self.pairs = Pairs.of(moments, queries=queries, videos=numbers)
        self._placed = self.pairs

    def evaluating(self, *, share_videos: bool = False) -> GroundingDataset:
        """Give the same pairs without a random phase, each video once a batch where ``share_videos``."""
        same = copy.copy(self)
        same.training, same.share_videos = False, share_videos
        return same

    def __len__(self) -> int:
        return len(self.moments)

    def __getitem__(self, index: int) -> GroundingBatch | Draw:
        return self.__getitems__([index])

    def __getitems__(self, index: Sequence[int]) -> GroundingBatch | Draw:
        """Give the batch of some pairs, or, where batches are made on the device, which pairs they are."""
        chosen = torch.tensor(index)
        draw = Draw(
            split=self.split,
            words=int(self.pairs.words.index_select(0, chosen).max()),
            index=chosen,
            phase=torch.rand(len(chosen), dtype=torch.float64) if self.training else None,
            share_videos=self.share_videos,
        )
        return draw if self.on_device else self.batch(draw)

    def batch(self, draw: Draw) -> GroundingBatch:
        """Make a batch on the device of the draw, where the pairs stay from then on.

        Raises:
            DataError: features cannot be read
        """
        if self._placed.video.device != draw.index.device:
            self._placed = self.pairs.to(draw.index.device)
        return collate(
            self._placed,
            draw,
            rows=self.rows,
            sampling=self.sampling,
            blind_to_video=self.blind == "video",
        )

    def order(self, order: Order) -> Tensor:
        """Order of evaluation: the split's, by words of the query, or pairs of one video side by side.

        Shape: (pairs,) int64
        """
        if order == "split":
            return torch.arange(len(self))
        by = self.pairs.words if order == "length" else self.pairs.video
        return by.argsort(stable=True)
