"""Scores against the spans of several annotators, and the agreement of the annotators with each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from cpnet.data.moment import Moment
from cpnet.data.times import pad_windows
from cpnet.evaluation.functional import Floats
from cpnet.evaluation.matching import video_and_query
from cpnet.evaluation.names import pair_scores
from cpnet.options import MetricsOptions

Span = tuple[float, float]
Spans = tuple[Span, ...]  # of one annotator, in seconds
RULES = ("best", "mean", "majority")


@dataclass(frozen=True, kw_only=True)
class References:
    """Spans of the annotators of some pairs of a split.

    Attributes:
        places: places of the pairs in the split
        marked: for each of these pairs, the spans of each annotator
        surplus: videos and queries of the file that the split lacks
        outside: videos and queries of the pairs with spans outside of the video, which are left out
        clipped: number of spans that were cut at the ends of their videos
    """

    places: list[int]
    marked: list[list[Spans]]
    surplus: list[tuple[str, str]]
    outside: list[tuple[str, str]]
    clipped: int


def match_references(
    moments: Sequence[Moment], read: Mapping[tuple[str, str], Mapping[str, Sequence[Span]]], *, clip: bool
) -> References:
    """Find the references of each moment by its video and query.

    Args:
        moments: the pairs of a split
        read: spans in seconds by video and query, and by annotator
        clip: cut spans at the ends of their videos, and leave out those without overlap
    """
    found = References(places=[], marked=[], surplus=[], outside=[], clipped=0)
    keys, clipped = [video_and_query(moment) for moment in moments], 0
    for place, (key, moment) in enumerate(zip(keys, moments, strict=True)):
        marked: list[Spans] = []
        lost = False
        for spans in read.get(key, {}).values():
            cut = [(max(0.0, start), min(end, moment.duration_sec)) for start, end in spans] if clip else [*spans]
            kept = tuple(span for span in cut if span[0] < span[1])
            clipped += sum(span not in spans for span in kept)
            lost |= len(kept) < len(spans)
            if kept:
                marked.append(kept)
        if lost:
            found.outside.append(key)
        if marked:
            found.places.append(place)
            found.marked.append(marked)
    return replace(found, surplus=sorted(read.keys() - {*keys}), clipped=clipped)


def score_against_annotators(
    options: MetricsOptions, predicted: Floats, marked: Sequence[Sequence[Spans]]
) -> dict[str, dict[str, Floats]]:
    """Return the scores of first predictions by rule and metric.

    ``best`` takes the span of any annotator with the highest IoU, ``mean`` the mean over annotators of the score with
    each one's best span, and ``majority`` the best part of the time that more than half of the annotators mark, NaN
    where there is none.

    Shape: predicted (B, 2) in seconds -> (B,) each, in [0, 1]
    """
    options = replace(options, recall_at=[1], discounted=False)

    def scores(rows: Sequence[int], windows: Sequence[Spans]) -> dict[str, Floats]:
        if not rows:
            return {key: np.zeros(0) for key in pair_scores(options, np.zeros((1, 1, 2)), np.ones((1, 2)), np.ones(1))}
        return pair_scores(options, predicted[rows][:, None], pad_windows(windows), np.ones(len(rows)))

    every = range(len(marked))
    best = scores(every, [tuple(span for spans in each for span in spans) for each in marked])
    owners = [pair for pair in every for _ in marked[pair]]
    single = scores(owners, [spans for each in marked for spans in each])
    counts = np.bincount(owners, minlength=len(marked))
    mean = {key: np.bincount(owners, each, len(marked)) / counts for key, each in single.items()}
    parts = [majority(each) for each in marked]
    known = [pair for pair in every if parts[pair]]
    agreed = {key: np.full(len(marked), np.nan) for key in best}
    for key, each in scores(known, [parts[pair] for pair in known]).items():
        agreed[key][known] = each
    return dict(zip(RULES, (best, mean, agreed), strict=True))


def score_annotators(options: MetricsOptions, marked: Sequence[Sequence[Spans]]) -> dict[str, dict[str, Floats]]:
    """Score each annotator against the others of the pair; return the mean over the annotators of each pair.

    Of an annotator with several spans, the mean over them counts. A pair of one annotator is left out.

    Shape: -> (pairs with two annotators or more,) each, in [0, 1]
    """
    several = [each for each in marked if len(each) > 1]
    rows = [
        (pair, span, [*each[:place], *each[place + 1 :]], 1 / len(spans))
        for pair, each in enumerate(several)
        for place, spans in enumerate(each)
        for span in spans
    ]
    owners, predicted, others, weights = ([*column] for column in zip(*rows, strict=True)) if rows else ([], [], [], [])
    scores = score_against_annotators(options, np.array(predicted, np.float64).reshape(-1, 2), others)
    return {
        rule: {key: _weighted(each, np.array(weights), owners, len(several)) for key, each in of.items()}
        for rule, of in scores.items()
    }


def _weighted(scores: Floats, weights: Floats, owners: Sequence[int], pairs: int) -> Floats:
    """Return the weighted mean of the known scores of each pair; NaN without any."""
    known = np.isfinite(scores)
    owners_of_known = np.array(owners, np.intp)[known]
    total = np.bincount(owners_of_known, (weights * scores)[known], pairs)
    weight = np.bincount(owners_of_known, weights[known], pairs)
    means: Floats = np.divide(total, weight, out=np.full(pairs, np.nan), where=weight > 0)
    return means


def majority(marked: Sequence[Spans]) -> Spans:
    """Return the parts of the time that more than half of the annotators mark, in order; none if there is no such time.

    >>> majority([((0.0, 6.0),), ((4.0, 9.0),), ((5.0, 8.0), (20.0, 21.0))])
    ((4.0, 8.0),)
    >>> majority([((0.0, 2.0),), ((1.0, 3.0),)]), majority([((0.0, 2.0),), ((2.0, 3.0),)])
    (((1.0, 2.0),), ())
    """
    parts: list[Span] = []
    for low, high in pairwise(sorted({time for spans in marked for span in spans for time in span})):
        votes = sum(any(start <= low and high <= end for start, end in spans) for spans in marked)
        if 2 * votes > len(marked):
            joined = parts.pop()[0] if parts and parts[-1][1] == low else low
            parts.append((joined, high))
    return tuple(parts)
