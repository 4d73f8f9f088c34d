"""The only Dataset: the pairs of one split of any corpus, returned as whole batches."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor
from torch.utils.data import Dataset

from cpnet.batch import PADDING, GroundingBatch
from cpnet.data.collate import Pairs, PairSelection, collate
from cpnet.data.features.placement import PlacedFeatures
from cpnet.data.moment import Moment, normalise_id
from cpnet.data.sampling import Sampling
from cpnet.data.vocabulary import Vocabulary

Blind = Literal["none", "video", "query"]
Order = Literal["split", "length", "video"]  # of evaluation; with "video", a batch has each video once
IndexAndPhase = tuple[int, float]  # a row of the split, and the phase of its clips


class GroundingDataset(Dataset[GroundingBatch | PairSelection]):
    """Pairs of one split.

    ``videos`` maps normalised ids to the videos' numbers in the features. Queries are truncated to ``max_words``.
    ``blind`` replaces the features of the video or the words of the query with zeros and keeps their mask.

    Raises:
        DataError: a query has no word
    """

    def __init__(
        self,
        moments: Sequence[Moment],
        *,
        split: str,
        features: PlacedFeatures,
        videos: Mapping[str, int],
        sampling: Sampling,
        vocabulary: Vocabulary,
        max_words: int,
        blind: Blind,
    ) -> None:
        self.moments, self.split, self.features, self.sampling = moments, split, features, sampling
        self.blind = blind
        self.share_videos = False
        queries = [vocabulary.encode(moment.query, max_words=max_words) for moment in moments]
        if blind == "query":
            queries = [[PADDING] * len(query) for query in queries]
        numbers = [videos[normalise_id(moment.video)] for moment in moments]
        self.pairs = Pairs.of(moments, queries=queries, videos=numbers)

    def evaluating(self, *, share_videos: bool) -> GroundingDataset:
        """Return a dataset of the same pairs; with ``share_videos``, a batch has each video once."""
        same = copy.copy(self)
        same.share_videos = share_videos
        return same

    def __len__(self) -> int:
        return len(self.moments)

    def __getitem__(self, picks: Sequence[int | IndexAndPhase]) -> GroundingBatch | PairSelection:
        """Return the batch of the picked pairs, or only their selection if the features are on the device.

        Args:
            picks: rows of the split, possibly none; in training, tuples of a row and a phase in [0, 1)
        """
        rows = [pick if isinstance(pick, int) else pick[0] for pick in picks]
        phases = [pick[1] for pick in picks if not isinstance(pick, int)]
        index = torch.tensor(rows, dtype=torch.int64)
        selection = PairSelection(
            split=self.split,
            words=int(self.pairs.words.index_select(0, index).max()) if rows else 1,
            index=index,
            phase=torch.tensor(phases, dtype=torch.float64) if phases else None,
            share_videos=self.share_videos,
        )
        return selection if self.features.on_device else self.batch(selection)

    __getitems__ = __getitem__  # DataLoader calls it with the rows of a batch

    def batch(self, selection: PairSelection, device: torch.device | str = "cpu") -> GroundingBatch:
        """Build a batch. Its clips are on ``device`` if the features are placed there, all else is on the host.

        Raises:
            DataError: features cannot be read
        """
        index = selection.index
        if not len(index):  # build the batch of one pair, then empty it
            one = replace(selection, index=index.new_zeros(1), words=self.pairs.query.shape[1])
            return self.batch(one, device).none()
        self.features.to(device)
        return collate(
            self.pairs,
            selection,
            features=self.features,
            sampling=self.sampling,
            blind_to_video=self.blind == "video",
        )

    def order(self, order: Order) -> Tensor:
        """Return the evaluation order: that of the split, by query length, or grouped by video.

        Shape: (pairs,) int64
        """
        if order == "split":
            return torch.arange(len(self))
        by = self.pairs.words if order == "length" else self.pairs.video
        return by.argsort(stable=True)
