"""The only Dataset: pairs of any corpus, one sample a pair."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from cpnet.batch import PADDING
from cpnet.data.features import FeatureSource
from cpnet.data.moment import Moment
from cpnet.data.sampling import Sampling
from cpnet.data.vocabulary import Vocabulary

Blind = Literal["none", "video", "query"]


@dataclass(frozen=True, slots=True)
class Sample:
    """One pair: clips (T, V) of which the first ``real`` are real, rows of its words, its moment and its number."""

    video: NDArray[np.float32]
    real: int
    query: list[int]
    moment: Moment
    index: int


class GroundingDataset(Dataset[Sample]):
    """Pairs of one split.

    Args:
        moments: the split's pairs
        features: rows of every video
        sampling: from rows to T clips
        vocabulary: from words to rows of word vectors
        max_words: longer queries are cut
        training: samples clips with a random phase, drawn from torch's generator, where the policy has one
        blind: gives zeros instead of the video's features, or instead of the query's words, and keeps their masks

    Raises:
        DataError: a query has no word
    """

    def __init__(
        self,
        moments: Sequence[Moment],
        *,
        features: FeatureSource,
        sampling: Sampling,
        vocabulary: Vocabulary,
        max_words: int,
        training: bool,
        blind: Blind = "none",
    ) -> None:
        self.moments = moments
        self.features = features
        self.sampling = sampling
        self.training = training
        self.blind = blind
        self.queries = [vocabulary.encode(moment.query, max_words=max_words) for moment in moments]
        if blind == "query":
            self.queries = [[PADDING] * len(query) for query in self.queries]

    def __len__(self) -> int:
        return len(self.moments)

    def __getitem__(self, index: int) -> Sample:
        moment = self.moments[index]
        rng = np.random.default_rng(int(torch.randint(2**62, ()))) if self.training else None
        video, real = self.sampling(self.features.rows(moment.video), rng=rng)
        if self.blind == "video":
            video = np.zeros_like(video)
        return Sample(video, real, self.queries[index], moment, index)
