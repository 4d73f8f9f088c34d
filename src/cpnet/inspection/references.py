"""Spans of further annotators, and failures that people may accept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cpnet.data.moment import Moment
from cpnet.data.readers.references import Span, read_references
from cpnet.errors import DataError
from cpnet.evaluation.functional import iou
from cpnet.evaluation.matching import video_and_query
from cpnet.grounding.candidates import basins
from cpnet.inspection.observe import Floats, Observed

AGREES = 0.5  # IoU from which a prediction agrees with a span
PEAK = 0.5  # a peak is at least this share of the highest


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A pair whose prediction disagrees with its annotation.

    Attributes:
        row: in the split
        annotator: of the span with the highest IoU with the prediction; empty without further annotators
        agreement: that IoU
        peaks: number of separate peaks of the attention
    """

    row: int
    annotator: str
    agreement: float
    peaks: int

    @property
    def accepted(self) -> bool:
        """Return whether another annotator agrees with the prediction."""
        return self.agreement >= AGREES


def references_of(path: Path, moments: Sequence[Moment]) -> tuple[dict[int, list[tuple[str, Span]]], int]:
    """Read the annotators' spans of each row of the split; return them, and the number of other pairs.

    Raises:
        DataError: see ``read_references``; or no pair of the file is in the split
    """
    read, keys = read_references(path), [video_and_query(moment) for moment in moments]
    found = {
        row: [(annotator, span) for annotator, spans in read[key].items() for span in spans]
        for row, key in enumerate(keys)
        if key in read
    }
    if not found:
        raise DataError(f"references={path}: no line has video and query of a pair of the split")
    return found, len(read.keys() - {*keys})


def count_peaks(attention: Floats) -> int:
    """Return the number of peaks that reach half of the highest, with a valley below half of the lower one between.

    >>> import numpy as np
    >>> count_peaks(np.array([0.1, 0.3, 0.25, 0.0, 0.05, 0.3])), count_peaks(np.array([0.5, 0.4, 0.1, 0.15]))
    (2, 1)
    """
    if not attention.size:
        return 0
    return sum(bool(attention[first:behind].max() >= PEAK * attention.max()) for first, behind in basins(attention))


def find_failures(
    observed: Mapping[int, Observed], references: Mapping[int, Sequence[tuple[str, Span]]]
) -> list[Failure]:
    """Return the pairs of IoU below 0.5: those with which another annotator agrees, then those of several peaks.

    Within each group, the highest agreement comes first, then the lowest IoU.
    """
    failures = []
    for row, each in observed.items():
        if each.iou is None or each.iou >= AGREES:
            continue
        annotator, agreement = "", 0.0
        for name, span in references.get(row, ()):
            if (found := float(iou(each.predicted_sec, span))) > agreement:
                annotator, agreement = name, found
        peaks = count_peaks(each.attention)
        failures.append(Failure(row=row, annotator=annotator, agreement=agreement, peaks=peaks))

    def order(failure: Failure) -> tuple[bool, float, bool, float, int]:
        low = observed[failure.row].iou or 0.0
        agreement = failure.agreement if failure.accepted else 0.0
        return (not failure.accepted, -agreement, failure.peaks < 2, low, failure.row)

    return sorted(failures, key=order)
