"""Breakdown of each row of a table by group of pairs, beside the best constant span."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from cpnet.data.moment import Moment
from cpnet.data.times import times
from cpnet.errors import DataError
from cpnet.evaluation.breakdown import Breakdown, Group, Grouping, break_down, group_pairs, rarest_words
from cpnet.evaluation.functional import Floats, iou
from cpnet.evaluation.trivial import BEST_MIOU, Trivial
from cpnet.reporting.gather import Run
from cpnet.runs.pairs import read_pairs
from cpnet.runs.predictions import FILE


@dataclass(frozen=True)
class Broken:
    """Breakdown of each row by its name, and that of the best constant, if it is known."""

    rows: Mapping[str, Breakdown]
    constant: Mapping[str, Breakdown] = field(default_factory=dict)

    def cells(self) -> tuple[list[str], list[list[str]]]:
        """Return heads and lines: a group a line, with the mIoU of each row and its interval."""
        columns, lines = {**self.rows, **self.constant}, []
        for attribute, groups in next(iter(self.rows.values())).items():
            for place, (name, group) in enumerate(groups.items()):
                found = [broken[attribute][name].metrics["mIoU"] for broken in columns.values()]
                cells = [f"{mean:.2f} [{low:.1f}, {high:.1f}]" for mean, low, high in found]
                lines.append(["" if place else attribute, name, str(group.pairs), *cells])
        return ["mIoU by", "", "pairs", *columns], lines

    def as_json(self) -> dict[str, Any]:
        """Return all metrics of all groups for a file, by row."""
        return _each({**self.rows, **self.constant}, asdict)

    def mean_ious(self) -> dict[str, Any]:
        """Return pairs, mIoU and the ends of its interval of all groups for a file; ``of`` reads them."""

        def numbers(group: Group) -> list[float]:
            return [group.pairs, *group.metrics["mIoU"]]

        return {"rows": _each(self.rows, numbers), "constant": _each(self.constant, numbers)}

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> Broken:
        """Return the breakdown of the mIoU whose ``mean_ious`` are given."""

        def group(numbers: Sequence[float]) -> Group:
            pairs, mean, low, high = numbers
            return Group(pairs=int(pairs), metrics={"mIoU": (mean, low, high)})

        return cls(_each(content["rows"], group), _each(content["constant"], group))

    def records(self) -> list[dict[str, object]]:
        """Return a record of each row, group and metric, for a CSV."""
        return [
            {"row": row, "attribute": attribute, "group": name, "pairs": group.pairs, "metric": key}
            | dict(zip(("mean", "low", "high"), numbers, strict=True))
            for row, broken in {**self.rows, **self.constant}.items()
            for attribute, groups in broken.items()
            for name, group in groups.items()
            for key, numbers in group.metrics.items()
        ]


def _each(rows: Mapping[str, Any], change: Callable[[Any], object]) -> dict[str, Any]:
    """Change each group of each attribute of each row."""
    return {
        row: {name: {group: change(each) for group, each in groups.items()} for name, groups in attributes.items()}
        for row, attributes in rows.items()
    }


def break_down_rows(
    groupings: Mapping[str, Grouping],
    scores: Mapping[str, Mapping[str, Floats]],
    *,
    trivial: Mapping[str, Trivial],
    windows: Floats,
) -> Broken:
    """Break the scores of rows down.

    Args:
        groupings: groups of the pairs
        scores: score of each pair by row and metric; the discounted metrics are left out
        trivial: trivial predictors by name
        windows: true windows in fractions of their videos. Shape: (B, K, 2)
    """
    rows = {
        name: break_down(groupings, {key: score for key, score in each.items() if not key.startswith("dR")})
        for name, each in scores.items()
    }
    if BEST_MIOU not in trivial:
        return Broken(rows)
    overlaps = iou(trivial[BEST_MIOU].span, windows).max(axis=1)
    return Broken(rows, {BEST_MIOU: break_down(groupings, {"mIoU": overlaps})})


def break_down_systems(
    scores: Mapping[str, Mapping[str, Floats]],
    moments: Sequence[Moment],
    training: Sequence[Moment],
    trivial: Mapping[str, Trivial],
) -> Broken:
    """Break the scores of systems down. ``training`` has the pairs in whose queries words are counted."""
    windows, duration = times(moments)
    videos, queries = [moment.video for moment in moments], [moment.query for moment in moments]
    counts = rarest_words(queries, [moment.query for moment in training])
    groups = group_pairs(videos, queries, windows[:, 0], duration, counts)
    return break_down_rows(groups, scores, trivial=trivial, windows=windows / duration[:, None, None])


def break_down_runs(groups: Mapping[str, Sequence[Run]]) -> Broken:
    """Break the rows of a report down; a pair's score in a row is its mean over the seeds.

    Raises:
        DataError: the predictions of the first run cannot be read, or have changed since they were first read
    """
    first = next(iter(groups.values()))[0]
    pairs = read_pairs(first.folder / FILE)
    if len(pairs.qids) != len(first.windows):
        raise DataError(f"{first.folder / FILE} has changed meanwhile; make the report again")
    scores = {
        name: {key: np.mean([run.scores[key] for run in runs], axis=0) for key in _common_keys(runs)}
        for name, runs in groups.items()
    }
    return break_down_rows(pairs.groups(), scores, trivial=first.results.trivial, windows=first.windows)


def _common_keys(runs: Sequence[Run]) -> list[str]:
    return [key for key in runs[0].scores if all(key in run.scores for run in runs)]
