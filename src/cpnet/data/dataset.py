"""The only Dataset: the pairs of one split of any corpus, returned as whole batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.utils.data import Dataset

from cpnet.batch import PADDING, GroundingBatch
from cpnet.data.collate import Pairs, collate
from cpnet.data.features.placement import PlacedFeatures
from cpnet.data.moment import Moment, normalise_id
from cpnet.data.sampling import Sampling
from cpnet.data.vocabulary import Vocabulary

Blind = Literal["none", "video", "query"]
Order = Literal["split", "length", "video"]  # of evaluation; with "video", a batch has each video once
IndexAndPhase = tuple[int, float]  # a row of the split, and the phase of its clips


class GroundingDataset(Dataset[GroundingBatch]):
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
        features: PlacedFeatures,
        videos: Mapping[str, int],
        sampling: Sampling,
        vocabulary: Vocabulary,
        max_words: int,
        blind: Blind,
    ) -> None:
        self.moments, self.features, self.sampling, self.blind = moments, features, sampling, blind
        self.share_videos = False  # whether a batch has each video once
        queries = [vocabulary.encode(moment.query, max_words=max_words) for moment in moments]
        if blind == "query":
            queries = [[PADDING] * len(query) for query in queries]
        numbers = [videos[normalise_id(moment.video)] for moment in moments]
        self.pairs = Pairs.of(moments, queries=queries, videos=numbers)

    def __len__(self) -> int:
        return len(self.moments)

    def __getitem__(self, picks: Sequence[int | IndexAndPhase]) -> GroundingBatch:
        """Return the batch of the picked pairs. Its clips are where the features are, all else is on the host.

        Args:
            picks: rows of the split, possibly none; in training, tuples of a row and a phase in [0, 1)

        Raises:
            DataError: features cannot be read
        """
        if not picks:  # build the batch of one pair, then empty it
            return self[[0]].none()
        phases = [pick[1] for pick in picks if not isinstance(pick, int)]
        return collate(
            self.pairs,
            torch.tensor([pick if isinstance(pick, int) else pick[0] for pick in picks]),
            phase=torch.tensor(phases, dtype=torch.float64) if phases else None,
            features=self.features,
            sampling=self.sampling,
            share_videos=self.share_videos,
            blind_to_video=self.blind == "video",
        )

    __getitems__ = __getitem__  # DataLoader calls it with the rows of a batch

    def order(self, order: Order) -> Tensor:
        """Return the evaluation order: that of the split, by query length, or grouped by video.

        Shape: (pairs,) int64
        """
        if order == "split":
            return torch.arange(len(self))
        return (self.pairs.words if order == "length" else self.pairs.video).argsort(stable=True)
