"""Predictions of all pairs of a run as columns: a file may contain a million pairs."""

from __future__ import annotations

import sys
from array import array
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np

from cpnet.errors import DataError
from cpnet.evaluation.breakdown import Breakdown, Grouping, break_down, group_pairs
from cpnet.evaluation.functional import Floats
from cpnet.evaluation.names import pair_scores
from cpnet.options import MetricsOptions
from cpnet.runs.predictions import read_predictions


@dataclass(frozen=True, kw_only=True, eq=False)
class PredictedPairs:
    """Pairs of a predictions file in order of qid.

    Attributes:
        qids: identifiers of the pairs
        videos: identifiers of their videos
        queries: their sentences
        rarest: number of training queries with the query's rarest word; None in older files
        durations: length of each video in seconds. Shape: (B,)
        windows: true windows in seconds, padded as in ``GroundingBatch``. Shape: (B, K, 2)
        ranked: ranked spans in seconds; (0, 0), which scores 0, for a missed pair. Shape: (B, N, 2)
    """

    qids: list[str]
    videos: list[str]
    queries: list[str]
    rarest: list[int | None]
    durations: Floats
    windows: Floats
    ranked: Floats

    def breakdown(self, options: MetricsOptions) -> Breakdown:
        """Return all metrics but the discounted ones by group of the pairs."""
        options = replace(options, discounted=False)
        return break_down(self.groups(), pair_scores(options, self.ranked, self.windows, self.durations))

    def groups(self) -> dict[str, Grouping]:
        """Group the pairs by each attribute."""
        return group_pairs(self.videos, self.queries, self.windows[:, 0], self.durations, self.rarest)


def read_pairs(path: Path) -> PredictedPairs:
    """Read the pairs of a predictions file.

    Raises:
        DataError: see ``read_predictions``; or the file is empty, a pair has no true window, or pairs differ in the
            number of their spans
    """
    texts: list[tuple[str, str, str]] = []
    rarest: list[int | None] = []
    durations, ranked, times = (array("d") for _ in range(3))
    counts, answered, spans = array("q"), array("b"), 0
    for row in read_predictions(path):
        spans = spans or len(row.predicted)
        if len(row.predicted) not in (0, spans):  # 0 for a pair without features
            raise DataError(f"{path.name}: {row.qid} has {len(row.predicted)} predicted spans, other pairs {spans}")
        if not row.true:
            raise DataError(f"{path.name}: {row.qid} has no true window, so it cannot be scored")
        texts.append((row.qid, sys.intern(row.video), row.query))
        rarest.append(row.rarest)
        durations.append(row.duration)
        counts.append(len(row.true))
        answered.append(bool(row.predicted))
        times.extend(chain.from_iterable(row.true))
        ranked.extend(chain.from_iterable(row.predicted))
    if not texts:
        raise DataError(f"{path.name} is empty")
    order = sorted(range(len(texts)), key=lambda place: texts[place][0])
    count, window = np.frombuffer(counts, np.int64)[:, None], np.arange(max(counts))
    windows = np.frombuffer(times).reshape(-1, 2)[count.cumsum(0) - count + np.where(window < count, window, 0)]
    predicted = np.zeros((len(texts), spans, 2))
    predicted[np.frombuffer(answered, bool)] = np.frombuffer(ranked).reshape(sum(answered), spans, 2)
    qids, videos, queries = ([texts[place][column] for place in order] for column in range(3))
    return PredictedPairs(
        qids=qids,
        videos=videos,
        queries=queries,
        rarest=[rarest[place] for place in order],
        durations=np.frombuffer(durations)[order],
        windows=windows[order],
        ranked=predicted[order],
    )
