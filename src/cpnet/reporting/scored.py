"""The scores of a system's predictions: metrics with intervals, beside trivial predictors and another system."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from cpnet.data.moment import Moment
from cpnet.data.times import times
from cpnet.errors import quote
from cpnet.evaluation.average_precision import THRESHOLDS, average_precision
from cpnet.evaluation.functional import Floats
from cpnet.evaluation.matching import Matched, key_names
from cpnet.evaluation.names import pair_scores, printed_name
from cpnet.evaluation.trivial import Trivial
from cpnet.options import MetricsOptions
from cpnet.reporting.statistics import interval, resampled_means

EQUAL = 1e-9  # IoUs that differ by less are a draw
MOST_PREDICTIONS = 10  # of a query count for mAP, as in the code of QVHighlights
DIFFERENCE = "difference"  # name of the column


@dataclass(frozen=True, kw_only=True)
class Scored:
    """A system's predictions, and the score of each pair by metric, in [0, 1]."""

    name: str
    matched: Matched
    scores: Mapping[str, Floats]


@dataclass(frozen=True)
class Mean:
    """A mean over pairs and its 95 % interval, in per cent."""

    mean: float
    low: float
    high: float

    def printed(self, sign: str = "") -> str:
        """Return the mean and half of the interval's width, without the sign of a 0."""
        return f"{round(self.mean, 2) + 0.0:{sign}.2f} ± {(self.high - self.low) / 2:.2f}"


def score(name: str, matched: Matched, moments: Sequence[Moment], options: MetricsOptions) -> Scored:
    """Score the predictions of a system; see ``scores_of``."""
    return Scored(name=name, matched=matched, scores=scores_of(matched.ranked, moments, options))


def scores_of(ranked: Floats, moments: Sequence[Moment], options: MetricsOptions) -> dict[str, Floats]:
    """Return the score of each pair by metric; mAP joins the metrics if a query has several true windows.

    Shape: ranked (pairs, N, 2) in seconds -> (pairs,) each, in [0, 1]; R@n only for n <= N
    """
    target, duration = times(moments)
    known = [n for n in options.recall_at if n <= ranked.shape[1]]
    scores = pair_scores(replace(options, recall_at=known), ranked, target, duration)
    if target.shape[1] > 1:
        windows = [np.array(moment.windows_sec) for moment in moments]
        best = ranked[:, :MOST_PREDICTIONS]
        precisions = np.array([average_precision(*each) for each in zip(best, windows, strict=True)])
        scores["mAP"] = precisions.mean(axis=1)
        for threshold in (0.5, 0.75):
            scores[f"mAP@{threshold:g}"] = precisions[:, THRESHOLDS.index(threshold)]
    return scores


def means(systems: Sequence[Scored], *, resamples: int) -> dict[str, dict[str, Mean]]:
    """Return the metrics of each system by its name, and of two systems the paired ``difference``, with intervals."""
    scores = {each.name: each.scores for each in systems}
    if len(systems) > 1:
        scores[DIFFERENCE] = difference(*(each.scores for each in systems))
    return with_intervals(scores, resamples=resamples)


def difference(first: Mapping[str, Floats], second: Mapping[str, Floats]) -> dict[str, Floats]:
    """Return the difference of each pair's scores by metric."""
    return {key: first[key] - second[key] for key in first if key in second}


def with_intervals(scores: Mapping[str, Mapping[str, Floats]], *, resamples: int) -> dict[str, dict[str, Mean]]:
    """Return the means of scores by name and metric with their intervals, all of the same drawn pairs."""
    columns = 100 * np.stack([column for each in scores.values() for column in each.values()], axis=1)
    ends = interval(resampled_means(columns, resamples=resamples))
    found = (Mean(*numbers) for numbers in np.stack([columns.mean(axis=0), *ends], axis=1).tolist())
    return {name: {key: next(found) for key in each} for name, each in scores.items()}


def table(
    measured: Mapping[str, Mapping[str, Mean]], trivial: Mapping[str, Trivial]
) -> tuple[list[str], list[list[str]]]:
    """Return heads and lines: a metric a line, each system, the paired difference, and the trivial predictors."""
    keys = dict.fromkeys(key for each in measured.values() for key in each)
    lines = []
    for key in keys:
        cells = [printed_name(key)]
        for name, each in measured.items():
            sign, found = "+" if name == DIFFERENCE else "", each.get(key)
            cells.append(found.printed(sign) if found else "-")
        lines.append([*cells, *(_number(each.metrics.get(key)) for each in trivial.values())])
    return ["", *measured, *trivial], lines


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def remarks(systems: Sequence[Scored], moments: Sequence[Moment]) -> list[str]:
    """Return what the table does not show: predictions that are missing or impossible, and who wins how often."""
    lines = []
    for each in systems:
        found = each.matched
        described = {
            "pairs have no prediction and score 0": found.missing,
            "predictions belong to no pair of the split and are ignored": key_names(found.surplus),
            "first predictions end before they start and score 0": found.reversed,
            "first predictions leave the video and are scored as they are": found.outside,
        }
        lines += [f"{each.name}: {len(names)} {what}: {quote(names, 3)}" for what, names in described.items() if names]
    if len(systems) > 1:
        gain = systems[0].scores["mIoU"] - systems[1].scores["mIoU"]
        wins, losses = int((gain > EQUAL).sum()), int((gain < -EQUAL).sum())
        lines.append(
            f"{systems[0].name} has the higher IoU in {wins} pairs, {systems[1].name} in {losses}; "
            f"{len(moments) - wins - losses} are equal"
        )
    return lines


def as_json(
    systems: Sequence[Scored], measured: Mapping[str, Mapping[str, Mean]], trivial: Mapping[str, Trivial]
) -> dict[str, Any]:
    """Return all numbers for a file: metrics in per cent with their intervals, and the counts of the remarks."""
    counted = ("missing", "surplus", "reversed", "outside")
    return {
        "metrics": {name: {key: asdict(mean) for key, mean in each.items()} for name, each in measured.items()},
        "counts": {each.name: {key: len(getattr(each.matched, key)) for key in counted} for each in systems},
        "trivial": {name: dict(each.metrics) for name, each in trivial.items()},
    }
