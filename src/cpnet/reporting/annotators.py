"""Systems against the spans of several annotators: best, mean and majority, beside the annotators themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from cpnet.data.moment import Moment
from cpnet.errors import quote
from cpnet.evaluation.annotators import RULES, References, majority, score_against_annotators, score_annotators
from cpnet.evaluation.functional import Floats
from cpnet.evaluation.matching import key_names
from cpnet.evaluation.names import printed_name
from cpnet.evaluation.trivial import Trivial
from cpnet.options import MetricsOptions
from cpnet.reporting.printing import print_sentences, print_table
from cpnet.reporting.scored import Mean, with_intervals

ANNOTATION, HUMAN = "the corpus's annotation", "another annotator"  # names of columns

Means = dict[str, dict[str, Mean | None]]  # by rule and metric; None if no pair counts


def compare(
    systems: Mapping[str, Floats],
    references: References,
    moments: Sequence[Moment],
    options: MetricsOptions,
    trivial: Mapping[str, Trivial],
    *,
    resamples: int,
) -> dict[str, Means]:
    """Return the scores of each column: the systems, the corpus's annotation, an annotator, and trivial predictors.

    Args:
        systems: first prediction of each pair of the split by system, in seconds. Shape: (B, 2) each
        references: spans of the annotators
        moments: the pairs of the split
        options: thresholds and strictness of recall
        trivial: trivial predictors by name
        resamples: number of bootstrap samples over pairs
    """
    duration = np.array([moment.duration_sec for moment in moments])[:, None]
    predicted = {
        **systems,
        ANNOTATION: np.array([moment.windows_sec[0] for moment in moments]),
        **{name: duration * of.span for name, of in trivial.items()},
    }
    scores = {
        name: score_against_annotators(options, spans[references.places], references.marked)
        for name, spans in predicted.items()
    }
    human = score_annotators(options, references.marked)
    columns = {**{name: scores[name] for name in (*systems, ANNOTATION)}, HUMAN: human}
    columns |= {name: scores[name] for name in trivial}
    return {
        name: {rule: _means(of, resamples=resamples) for rule, of in rules.items()} for name, rules in columns.items()
    }


def _means(scores: Mapping[str, Floats], *, resamples: int) -> dict[str, Mean | None]:
    """Return the mean of each metric over the pairs that count, which are the same for all metrics."""
    known = {key: each[np.isfinite(each)] for key, each in scores.items()}
    if not len(known["mIoU"]):
        return dict.fromkeys(known)
    return {**with_intervals({"": known}, resamples=resamples)[""]}


def print_comparison(columns: Mapping[str, Means], references: References, pairs: int) -> None:
    """Print the columns of ``compare`` as a table, and remarks on the references of a split of so many pairs."""
    print_table("against several annotators; 95 % intervals", *cells(columns))
    print_sentences(remarks(references, pairs))


def cells(columns: Mapping[str, Means]) -> tuple[list[str], list[list[str]]]:
    """Return heads and lines: a rule and a metric a line."""
    lines = []
    for rule in RULES:
        keys = [*next(iter(columns.values()))[rule]]
        for key in sorted(keys, key=lambda key: key != "mIoU"):
            found = [each[rule][key] for each in columns.values()]
            texts = [each.printed() if each else "-" for each in found]
            lines.append([f"{rule}: {printed_name(key)}", *texts])
    return ["", *columns], lines


def remarks(references: References, pairs: int) -> list[str]:
    """Return sentences on the numbers of pairs and annotators, and on what is left out."""
    counts = np.array([len(each) for each in references.marked])
    parts = np.array([len(majority(each)) for each in references.marked])
    described: dict[str, int | Sequence[str]] = {
        "pairs have one annotator and do not count for another annotator": int((counts == 1).sum()),
        "pairs have no time that most annotators mark and do not count for the majority": int((parts == 0).sum()),
        "pairs have a majority in several parts, of which the best counts": int((parts > 1).sum()),
        "spans are clipped to their videos": references.clipped,
        "pairs have spans outside of their video, which are ignored": key_names(references.outside),
        "pairs of the file are not in the split and are ignored": key_names(references.surplus),
    }
    annotators = f"{counts.min()} to {counts.max()} annotators, {counts.mean():.1f} on average"
    lines = [f"references: {len(counts)} of {pairs} pairs, {annotators}"]
    for what, found in described.items():
        number, names = (found, "") if isinstance(found, int) else (len(found), f": {quote(found, 3)}")
        if number:
            lines.append(f"references: {number} {what}{names}")
    return lines


def as_json(columns: Mapping[str, Means], references: References) -> dict[str, Any]:
    """Return all numbers for a file: means with the ends of their intervals, in per cent, and counts."""
    counts = {"pairs": len(references.places), "annotations": sum(map(len, references.marked))}
    plain = {
        name: {rule: {key: mean and asdict(mean) for key, mean in of.items()} for rule, of in rules.items()}
        for name, rules in columns.items()
    }
    return {"counts": counts | {"surplus": len(references.surplus)}, "metrics": plain}
