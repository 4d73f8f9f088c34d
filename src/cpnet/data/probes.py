"""Probes: changes of a model's input that show what the model uses. ``dataset.blind`` trains through one of them.

The true windows stay those of the pair. All draws depend on the seed alone, not on batches or processes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from cpnet.data.word_classes import tagger, word_classes
from cpnet.errors import ConfigError, quote

Blind = Literal["none", "video", "query"]
Query = list[str]  # the words of a query; the empty word is padding
DRAWS = 100  # of another query for a pair, before it keeps its own

ChangeQueries = Callable[[Sequence[Query], Sequence[int], np.random.Generator], list[Query]]
ChangeVideos = Callable[[Sequence[int], np.random.Generator], list[int]]
ChangeClips = Callable[[Tensor, Tensor, Tensor, int], Tensor]


@dataclass(frozen=True, kw_only=True)
class Probe:
    """A change of the input. A pair that it cannot change keeps its input.

    Attributes:
        queries: maps the words of all queries, and the numbers of their videos, to the words that the model reads
        videos: maps the numbers of all pairs' videos to those of the videos that the model sees
        clips: maps clips, (B, T, V), the numbers of real clips and of videos, (B,) int64, and a seed to other clips
    """

    queries: ChangeQueries | None = None
    videos: ChangeVideos | None = None
    clips: ChangeClips | None = None


def zero_clips(clips: Tensor, real: Tensor, videos: Tensor, seed: int) -> Tensor:
    """Return zeros; see ``Probe.clips``."""
    return torch.zeros_like(clips)


def reverse_clips(clips: Tensor, real: Tensor, videos: Tensor, seed: int) -> Tensor:
    """Reverse the order of the real clips; see ``Probe.clips``."""
    place = torch.arange(clips.shape[1])
    return _reorder(clips, torch.where(place < real[:, None], real[:, None] - 1 - place, place))


def shuffle_clips(clips: Tensor, real: Tensor, videos: Tensor, seed: int) -> Tensor:
    """Shuffle the real clips, those of a video in the same way in every batch; see ``Probe.clips``."""
    order = torch.arange(clips.shape[1]).repeat(len(clips), 1)
    for row, (count, video) in enumerate(zip(real.tolist(), videos.tolist(), strict=True)):
        order[row, :count] = torch.from_numpy(np.random.default_rng([seed, video]).permutation(count))
    return _reorder(clips, order)


def _reorder(clips: Tensor, order: Tensor) -> Tensor:
    """Return clip ``order[b, t]`` of video b at t. Shape: (B, T, V), (B, T) on the host -> (B, T, V)"""
    return torch.take_along_dim(clips, order.to(clips.device)[..., None], dim=1)


def other_videos(videos: Sequence[int], generator: np.random.Generator) -> list[int]:
    """Replace each video by another one of the split, the same for all of its pairs."""
    drawn = generator.permutation(np.unique(videos))
    partner = dict(zip(drawn.tolist(), np.roll(drawn, 1).tolist(), strict=True))
    return [partner[video] for video in videos]


def zero_words(queries: Sequence[Query], videos: Sequence[int], generator: np.random.Generator) -> list[Query]:
    """Replace each word by padding; see ``Probe.queries``."""
    return [[""] * len(query) for query in queries]


def shuffle_words(queries: Sequence[Query], videos: Sequence[int], generator: np.random.Generator) -> list[Query]:
    """Shuffle the words of each query until their order differs; see ``Probe.queries``."""
    shuffled = []
    for query in queries:
        words = query
        while words == query and len({*query}) > 1:
            words = [query[place] for place in generator.permutation(len(query))]
        shuffled.append(words)
    return shuffled


def queries_of_same_video(
    queries: Sequence[Query], videos: Sequence[int], generator: np.random.Generator
) -> list[Query]:
    """Swap in the query of another pair of the video that differs in its words; see ``Probe.queries``."""
    of_video: dict[int, list[Query]] = {}
    for query, video in zip(queries, videos, strict=True):
        of_video.setdefault(video, []).append(query)
    swapped = []
    for query, video in zip(queries, videos, strict=True):
        others = [each for each in of_video[video] if each != query] or [query]
        swapped.append(others[generator.integers(len(others))])
    return swapped


def queries_of_other_video(
    queries: Sequence[Query], videos: Sequence[int], generator: np.random.Generator
) -> list[Query]:
    """Swap in the query of a pair of another video that differs in its words; see ``Probe.queries``."""
    swapped = []
    for query, video in zip(queries, videos, strict=True):
        drawn = generator.integers(len(queries), size=DRAWS).tolist()
        others = (queries[pair] for pair in drawn if videos[pair] != video and queries[pair] != query)
        swapped.append(next(others, query))
    return swapped


def remove(removed: str) -> ChangeQueries:
    """Return a change that removes the words of a class, unless no word would remain; see ``Probe.queries``."""

    def change(queries: Sequence[Query], videos: Sequence[int], generator: np.random.Generator) -> list[Query]:
        left = []
        for query in queries:
            classes = word_classes(tuple(query))
            kept = [word for word, each in zip(query, classes, strict=True) if each != removed]
            left.append(kept if any(map(str.isalnum, "".join(kept))) else query)
        return left

    return change


PROBES = {
    "video_zeroed": Probe(clips=zero_clips),
    "video_shuffled": Probe(clips=shuffle_clips),
    "video_reversed": Probe(clips=reverse_clips),
    "video_other": Probe(videos=other_videos),
    "words_zeroed": Probe(queries=zero_words),
    "words_shuffled": Probe(queries=shuffle_words),
    "verbs_removed": Probe(queries=remove("verb")),
    "nouns_removed": Probe(queries=remove("noun")),
    "query_same_video": Probe(queries=queries_of_same_video),
    "query_other_video": Probe(queries=queries_of_other_video),
}
BLIND: dict[Blind, tuple[Probe, ...]] = {
    "none": (),
    "video": (PROBES["video_zeroed"],),
    "query": (PROBES["words_zeroed"],),
}


def choose_probes(given: object) -> list[str]:
    """Return the names of probes that ``probe=all``, ``probe=NAME`` or ``probe=[NAME,NAME]`` asks for.

    Raises:
        ConfigError: a probe is unknown, or the package that it needs is missing

    >>> choose_probes(["words_zeroed", "video_zeroed", "words_zeroed"])
    ['words_zeroed', 'video_zeroed']
    """
    listed = given if isinstance(given, Sequence) and not isinstance(given, str) else [given]
    names = [*PROBES] if [*listed] == ["all"] else [*dict.fromkeys(map(str, listed))]
    if unknown := [name for name in names if name not in PROBES]:
        raise ConfigError(f"probe must be all, or list some of {', '.join(PROBES)}; got {quote(unknown)}")
    if {"verbs_removed", "nouns_removed"} & {*names}:
        tagger()
    return names
