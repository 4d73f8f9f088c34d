"""The only Dataset: the pairs of one split of any corpus, returned as whole batches."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from cpnet.batch import GroundingBatch
from cpnet.data.collate import Pairs, collate
from cpnet.data.features.placement import PlacedFeatures
from cpnet.data.moment import Moment, normalise_id
from cpnet.data.probes import BLIND, Blind, Probe, Query
from cpnet.data.sampling import Sampling
from cpnet.data.vocabulary import Vocabulary, words_of

Order = Literal["split", "length", "video"]  # of evaluation; with "video", a batch has each video once
IndexAndPhase = tuple[int, float]  # a row of the split, and the phase of its clips


class GroundingDataset(Dataset[GroundingBatch]):
    """Pairs of one split.

    ``videos`` maps normalised ids to the videos' numbers in the features. Queries are truncated to ``max_words``.
    ``blind`` zeroes the clips of the video or the words of the query and keeps their mask.

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
        self.moments, self.features, self.sampling = moments, features, sampling
        self.vocabulary, self.max_words = vocabulary, max_words
        self.videos = [videos[normalise_id(moment.video)] for moment in moments]
        self.share_videos = False  # whether a batch has each video once
        self._see_through(BLIND[blind])

    def probed(self, probe: Probe, *, seed: int) -> GroundingDataset:
        """Return the pairs with an input that a probe changes, before ``blind`` hides its part."""
        seen = copy(self)
        seen._see_through((probe, *self.probes), seed)
        return seen

    def _see_through(self, probes: Sequence[Probe], seed: int = 0) -> None:
        self.probes, self.seed = probes, seed
        queries, videos = self.read(probes, seed=seed)
        self.pairs = Pairs.of(self.moments, queries=[*map(self.vocabulary.rows, queries)], videos=videos)

    def read(self, probes: Sequence[Probe], *, seed: int) -> tuple[Iterable[Query], list[int]]:
        """Return the words and the number of the video of each pair, seen through probes one after the other.

        Without a probe of queries, the words are generated one query at a time: those of a million pairs take much
        memory.
        """
        queries: Iterable[Query] = (words_of(moment.query, max_words=self.max_words) for moment in self.moments)
        videos = self.videos
        for probe in probes:
            generator = np.random.default_rng(seed)
            queries = probe.queries([*queries], self.videos, generator) if probe.queries else queries
            videos = probe.videos(videos, generator) if probe.videos else videos
        return queries, videos

    def sentences(self) -> list[str]:
        """Return the sentence of each pair, for a model that reads sentences instead of words."""
        own, seen = ([*map(tuple, self.read(probes, seed=self.seed)[0])] for probes in ((), self.probes))
        sentences = [each.query for each in self.moments]
        written = dict(zip(own, sentences, strict=True))  # of another pair, for probes that swap queries
        return [
            sentence if words == query else written.get(query, " ".join(query).strip())
            for words, query, sentence in zip(own, seen, sentences, strict=True)
        ]

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
            change=self._change_clips,
        )

    def _change_clips(self, clips: Tensor, real: Tensor, videos: Tensor) -> Tensor:
        for probe in self.probes:
            clips = probe.clips(clips, real, videos, self.seed) if probe.clips else clips
        return clips

    __getitems__ = __getitem__  # DataLoader calls it with the rows of a batch

    def order(self, order: Order) -> Tensor:
        """Return the evaluation order: that of the split, by query length, or grouped by video.

        Shape: (pairs,) int64
        """
        if order == "split":
            return torch.arange(len(self))
        return (self.pairs.words if order == "length" else self.pairs.video).argsort(stable=True)
