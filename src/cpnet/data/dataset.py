"""The only Dataset: pairs of any corpus, of which it gives whole batches."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
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
Pick = tuple[int, float]  # a row of the split, and a phase


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
        blind: Blind = "none",
        on_device: bool = False,
    ) -> None:
        self.moments, self.split, self.rows, self.sampling = moments, split, rows, sampling
        self.blind, self.on_device = blind, on_device
        self.share_videos = False
        queries = [vocabulary.encode(moment.query, max_words=max_words) for moment in moments]
        if blind == "query":
            queries = [[PADDING] * len(query) for query in queries]
        numbers = [videos[normalise_id(moment.video)] for moment in moments]
        self.pairs = Pairs.of(moments, queries=queries, videos=numbers)
        self._placed = self.pairs

    def evaluating(self, *, share_videos: bool = False) -> GroundingDataset:
        """Give the same pairs, each video once a batch where ``share_videos``."""
        same = copy.copy(self)
        same.share_videos = share_videos
        return same

    def __len__(self) -> int:
        return len(self.moments)

    def __getitem__(self, picks: int | Pick | list[int]) -> GroundingBatch | Draw:
        return self.__getitems__(picks if isinstance(picks, list) else [picks])

    def __getitems__(self, picks: Sequence[int | Pick]) -> GroundingBatch | Draw:
        """Give the batch of some pairs or of none, or, where batches are made on the device, which pairs they are.

        Args:
            picks: rows of the split; in training each with the phase, in [0, 1), at which clips are taken where the
                policy has one
        """
        rows = [pick if isinstance(pick, int) else pick[0] for pick in picks]
        phases = [pick[1] for pick in picks if not isinstance(pick, int)]
        chosen = torch.tensor(rows, dtype=torch.int64)
        draw = Draw(
            split=self.split,
            words=int(self.pairs.words.index_select(0, chosen).max()) if rows else 1,
            index=chosen,
            phase=torch.tensor(phases, dtype=torch.float64) if phases else None,
            share_videos=self.share_videos,
        )
        return draw if self.on_device else self.batch(draw)

    def batch(self, draw: Draw) -> GroundingBatch:
        """Make a batch on the device of the draw, where the pairs stay from then on.

        Raises:
            DataError: features cannot be read
        """
        if not len(draw.index):  # nothing below is made for this: a batch of any pair is emptied
            return self.batch(replace(draw, index=draw.index.new_zeros(1), words=self.pairs.query.shape[1])).none()
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
