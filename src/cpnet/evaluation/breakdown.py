"""Breakdown of scores: groups of pairs by moment, video and query, and the mean score of each group."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cpnet.data.moment import normalise_id
from cpnet.data.tokens import without_punctuation
from cpnet.evaluation.functional import TIE, Floats, iou

# Fixed edges, so that the groups of all systems and corpora are the same.
LENGTHS = (0.05, 0.1, 0.2, 0.3, 0.5)
CENTRES = (0.2, 0.4, 0.6, 0.8)
SECONDS = (15, 30, 60, 120, 240, 480)
WORDS = (5, 7, 9, 13, 20)
COUNTS = (1, 10, 100)  # training queries
ALIKE = (1, 2, 5)  # moments
# Without "next", "as", "once" and "when", which mostly have another meaning: "next to the door".
ORDER = frozenset(
    (
        *("after", "afterwards", "again", "before", "eventually", "finally", "first", "last", "lastly", "later"),
        *("meanwhile", "previously", "second", "then", "twice", "until", "while"),
    )
)
Z = 1.959964  # of a 95 % interval


@dataclass(frozen=True, kw_only=True)
class Group:
    """Pairs of a split that are alike in an attribute.

    Attributes:
        pairs: number of pairs
        metrics: mean over the pairs, and the ends of its 95 % interval, in per cent to two decimals, by key
    """

    pairs: int
    metrics: Mapping[str, tuple[float, float, float]]


Integers = NDArray[np.intp]
Breakdown = Mapping[str, Mapping[str, Group]]  # by attribute and name of the group


@dataclass(frozen=True, kw_only=True, eq=False)
class Grouping:
    """Names of the groups of an attribute, and the group of each pair. Shape: places (B,)"""

    names: Sequence[str]
    places: Integers


def group_pairs(
    videos: Sequence[str], queries: Sequence[str], spans: Floats, durations: Floats, rarest: Sequence[int | None]
) -> dict[str, Grouping]:
    """Group the pairs of a split by each attribute.

    Args:
        videos: identifier of each pair's video
        queries: sentence of each pair
        spans: first true window of each pair in seconds. Shape: (B, 2)
        durations: length of each video in seconds. Shape: (B,)
        rarest: for each pair, the number of training queries with its rarest word; the attribute is left out if one of
            the numbers is None
    """
    shares, known = spans / durations[:, None], [count for count in rarest if count is not None]
    words, order, alike = np.zeros((3, len(queries)), np.intp)
    of_video = defaultdict[str, list[int]](list)
    for place, video in enumerate(videos):
        of_video[normalise_id(video)].append(place)
    for places in of_video.values():
        tokens = [without_punctuation(queries[place]) for place in places]
        words[places] = [*map(len, tokens)]
        order[places] = [not ORDER.isdisjoint(each) for each in tokens]
        alike[places] = moments_alike(tokens, spans[places])
    groupings = {
        "moment length (share of video)": _between(shares[:, 1] - shares[:, 0], LENGTHS),
        "moment centre (share of video)": _between(shares.mean(axis=1), CENTRES),
        "video length (s)": _between(durations, SECONDS),
        "query length (words)": _counted(words, WORDS),
        "words of order": Grouping(names=("without", "with"), places=order),
        "rarest word (training queries)": _counted(known, COUNTS),
        "moments alike in the video": _counted(alike, ALIKE),
    }
    return {name: each for name, each in groupings.items() if len(each.places) == len(queries)}


def rarest_words(queries: Iterable[str], training: Iterable[str]) -> list[int]:
    """Return, for each query, the number of training queries with its rarest word.

    >>> rarest_words(["He opens doors.", "A door"], ["he opens a door", "he runs", "a door"])
    [0, 2]
    """
    counts = Counter(word for query in training for word in {*without_punctuation(query)})
    return [min((counts[word] for word in without_punctuation(query)), default=0) for query in queries]


def moments_alike(queries: Sequence[Sequence[str]], spans: Floats) -> Integers:
    """Return, for each pair of a video, the number of others whose moment is easily taken for its own.

    Their queries have at least half of all their distinct words in common (words of both / words of either), such as
    "person opens a door" and "person closes a door", and their first true windows overlap with an IoU below 0.5.

    Shape: words of M queries, spans (M, 2) -> (M,)
    """
    rows = {word: row for row, word in enumerate({*chain.from_iterable(queries)})}
    holds = np.zeros((len(queries), len(rows)), np.float32)
    for line, words in enumerate(queries):
        holds[line, [rows[word] for word in words]] = 1
    both = holds @ holds.T
    either = holds.sum(axis=1)[:, None] + holds.sum(axis=1) - both
    other = iou(spans[:, None], spans) < 0.5 - TIE
    alike: Integers = ((2 * both >= either) & other).sum(axis=1)
    return alike


def break_down(groupings: Mapping[str, Grouping], scores: Mapping[str, Floats]) -> Breakdown:
    """Return the pairs and the mean scores of each group that has a pair. Shape: scores (B,) each, in [0, 1]"""
    broken: dict[str, dict[str, Group]] = {}
    for attribute, grouping in groupings.items():
        pairs = np.bincount(grouping.places, minlength=len(grouping.names)).tolist()
        means = {key: group_means(score, grouping.places, len(pairs)).tolist() for key, score in scores.items()}
        broken[attribute] = {
            name: Group(pairs=pairs[row], metrics={key: tuple(each[row]) for key, each in means.items()})
            for row, name in enumerate(grouping.names)
            if pairs[row]
        }
    return broken


def group_means(scores: Floats, places: ArrayLike, groups: int) -> Floats:
    """Return mean and 95 % interval of each group, in per cent to two decimals; NaN for an empty group.

    The interval is that of Agresti and Coull (1998): the usual one of a mean, after two hits and two misses are added,
    so that a group of few pairs without a hit has an interval too.

    Shape: scores (B,) in [0, 1], places (B,) -> (groups, 3)

    >>> group_means(np.array([0.0, 0.0, 1.0, 0.5]), [0, 0, 1, 1], 2).tolist()
    [[0.0, 0.0, 71.05], [75.0, 22.43, 94.24]]
    """
    places = np.asarray(places, np.intp)
    count, total, squares = (
        np.bincount(places, weights=each, minlength=groups) for each in (np.ones(len(scores)), scores, scores**2)
    )
    centre = (total + 2) / (count + 4)
    half = Z * np.sqrt(((squares + 2) / (count + 4) - centre**2) / (count + 4))
    mean = np.divide(total, count, out=np.full(groups, np.nan), where=count > 0)
    rounded: Floats = np.round(100 * np.stack([mean, np.maximum(centre - half, 0), np.minimum(centre + half, 1)], 1), 2)
    return rounded


def _between(values: Floats, edges: Sequence[float]) -> Grouping:
    """Group measured values. A value at an edge belongs above it; equality holds within 1e-9."""
    inner = [f"{low:g} to {high:g}" for low, high in pairwise(edges)]
    names = (f"< {edges[0]:g}", *inner, f">= {edges[-1]:g}")
    return Grouping(names=names, places=np.digitize(values + TIE, edges))


def _counted(counts: Sequence[int] | Integers, edges: Sequence[int]) -> Grouping:
    """Group counts. The names are those of all counts of a group: ``0``, ``1 to 9``."""
    ranges = [(low, high - 1) for low, high in zip((0, *edges[:-1]), edges, strict=True)]
    inner = [f"{low}" if low == high else f"{low} to {high}" for low, high in ranges]
    return Grouping(names=(*inner, f">= {edges[-1]}"), places=np.digitize(np.array(counts, np.intp), edges))
