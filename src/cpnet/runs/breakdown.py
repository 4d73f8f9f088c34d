"""Breakdown of a run's scores, from its predictions alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from cpnet.data.times import times
from cpnet.evaluation.breakdown import Breakdown, Grouping, break_down, group_pairs
from cpnet.evaluation.matching import match
from cpnet.evaluation.names import pair_scores
from cpnet.options import MetricsOptions
from cpnet.runs.predictions import PredictionRow, read_predictions


def break_down_predictions(path: Path, options: MetricsOptions) -> Breakdown:
    """Return all metrics but the discounted ones, by group of the pairs of a predictions file.

    Raises:
        DataError: see ``read_predictions``
    """
    rows = [*read_predictions(path)]
    moments = [row.moment() for row in rows]
    ranked = match(moments, {row.qid: row.predicted for row in rows}).ranked
    scores = pair_scores(replace(options, discounted=False), ranked, *times(moments))
    return break_down(group_rows(rows), scores)


def group_rows(rows: list[PredictionRow]) -> dict[str, Grouping]:
    """Group predicted pairs by each attribute; those of older files have no rarest word."""
    return group_pairs([row.moment() for row in rows], [row.rarest for row in rows])
