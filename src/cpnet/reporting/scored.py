"""The scores of a system's predictions: metrics with intervals, beside trivial predictors and another system."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from cpnet.data.moment import Moment
from cpnet.data.times import times
from cpnet.errors import quote
from cpnet.evaluation.average_precision import THRESHOLDS, average_precision
from cpnet.evaluation.functional import Floats
from cpnet.evaluation.matching import Matched
from cpnet.evaluation.names import metric_keys, printed_name, score_pairs
from cpnet.evaluation.trivial import Trivial
from cpnet.options import MetricsOptions
from cpnet.reporting.statistics import interval, resampled_means
from cpnet.terminal import printable

EQUAL = 1e-9  # IoUs that differ by less are a draw


@dataclass(frozen=True, kw_only=True)
class Scored:
    """A system's predictions, and the score of each pair by metric, in [0, 1]."""

    name: str
    matched: Matched
    scores: Mapping[str, Floats]


def score(name: str, matched: Matched, moments: Sequence[Moment], options: MetricsOptions) -> Scored:
    """Score the predictions of a system; mAP joins the metrics if a query has several true windows."""
    target, duration = times(moments)
    most = matched.ranked.shape[1]
    keys = [key for key in metric_keys(options) if key == "mIoU" or int(key.split("@")[0].lstrip("dR")) <= most]
    scores = {key: score_pairs(key, matched.ranked, target, duration, strict=options.strict) for key in keys}
    if target.shape[1] > 1:
        windows = [np.array(moment.windows_sec) for moment in moments]
        precisions = [average_precision(*each) for each in zip(matched.ranked, windows, strict=True)]
        scores["mAP"] = np.mean(precisions, axis=1)
        for threshold in (0.5, 0.75):
            scores[f"mAP@{threshold:g}"] = np.array(precisions)[:, THRESHOLDS.index(threshold)]
    return Scored(name=name, matched=matched, scores=scores)


def table(
    systems: Sequence[Scored], trivial: Mapping[str, Trivial], *, resamples: int
) -> tuple[list[str], list[list[str]]]:
    """Return heads and lines: a metric a line, each system with its 95 % interval, the paired difference, constants."""
    first, *others = systems
    heads = ["", *(each.name for each in systems), *(["difference"] if others else []), *trivial]
    keys = [key for key in first.scores if all(key in each.scores for each in others)]
    columns = [np.stack([each.scores[key] for key in keys], axis=1) for each in systems]
    if others:
        columns.append(columns[0] - columns[1])
    drawn = 100 * interval(resampled_means(np.concatenate(columns, axis=1), resamples=resamples))
    ends, lines = drawn.reshape(2, len(columns), len(keys)), []
    for row, key in enumerate(keys):
        cells = [
            f"{100 * scores[:, row].mean():{'+' if place == len(systems) else ''}.2f} ± {(high - low) / 2:.2f}"
            for place, (scores, low, high) in enumerate(zip(columns, *ends[:, :, row], strict=True))
        ]
        constants = [f"{each.metrics[key]:.2f}" if key in each.metrics else "-" for each in trivial.values()]
        lines.append([key if key.startswith("mAP") else printed_name(key), *cells, *constants])
    return heads, lines


def remarks(systems: Sequence[Scored], moments: Sequence[Moment]) -> list[str]:
    """Return what the table does not show: predictions that are missing or impossible, and who wins how often."""
    lines = []
    for each in systems:
        found = each.matched
        described = {
            "pairs have no prediction and score 0": found.missing,
            "predictions belong to no pair of the split and are ignored": [*map(_named, found.surplus)],
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


def as_json(systems: Sequence[Scored], trivial: Mapping[str, Trivial]) -> dict[str, Any]:
    """Return all numbers for a file: metrics in per cent, and the counts of what is missing or impossible."""
    counted = ("missing", "surplus", "reversed", "outside")
    return {
        "systems": [
            {
                "name": each.name,
                "metrics": {key: 100 * float(scores.mean()) for key, scores in each.scores.items()},
                **{key: len(getattr(each.matched, key)) for key in counted},
            }
            for each in systems
        ],
        "trivial": {name: dict(each.metrics) for name, each in trivial.items()},
    }


def print_scores(title: str, heads: Sequence[str], lines: Sequence[Sequence[str]], sentences: Sequence[str]) -> None:
    """Print the table and its remarks."""
    console = Console()
    grid = Grid(title=Text(printable(title), "bold"), title_justify="left")
    for place, head in enumerate(heads):
        grid.add_column(Text(printable(head)), justify="right" if place else "left", overflow="fold")
    for line in lines:
        grid.add_row(*line)
    console.print(grid)
    for sentence in sentences:
        console.print(Text(printable(sentence)), soft_wrap=True)


def _named(key: object) -> str:
    return key if isinstance(key, str) else ": ".join(map(str, key)) if isinstance(key, tuple) else str(key)
