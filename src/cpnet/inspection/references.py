"""Spans of further annotators, and failures that people may accept."""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cpnet.data.moment import Moment, normalise_id
from cpnet.errors import DataError, cut, shown
from cpnet.evaluation.functional import iou
from cpnet.evaluation.matching import video_and_query
from cpnet.grounding.candidates import basins
from cpnet.inspection.observe import Floats, Observed

COLUMNS = ("video", "query", "start", "end", "annotator")
AGREES = 0.5  # IoU from which a prediction agrees with a span
PEAK = 0.5  # a peak is at least this share of the highest

Span = tuple[float, float]


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


def read_references(path: Path, moments: Sequence[Moment]) -> tuple[dict[int, list[tuple[str, Span]]], int]:
    """Read spans of annotators from a CSV; return those of each row of the split, and the number of other spans.

    Raises:
        DataError: the file cannot be read, lacks a column, has a wrong time, or no span of the split
    """
    rows = defaultdict[tuple[str, str], list[int]](list)
    for row, moment in enumerate(moments):
        rows[video_and_query(moment)].append(row)
    found, others = defaultdict[int, list[tuple[str, Span]]](list), 0
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream)
            if missing := [name for name in COLUMNS if name not in (reader.fieldnames or ())]:
                raise DataError(f"references={path}: no column {', '.join(missing)}; it needs {', '.join(COLUMNS)}")
            for line in reader:
                video, query, start, end, annotator = (line[name] or "" for name in COLUMNS)
                span = _seconds(start), _seconds(end)
                if not span[0] < span[1] < math.inf or span[0] < 0:
                    raise DataError(
                        f"references={path}, line {reader.line_num}: start and end must be seconds, the start first; "
                        f"got {shown(start, 40)} and {shown(end, 40)}"
                    )
                known = rows.get((normalise_id(video.strip()), query.strip()), ())
                others += not known
                for row in known:
                    found[row].append((annotator, span))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"references={path} cannot be read as CSV in UTF-8 ({cut(str(error))})") from error
    if not found:
        raise DataError(f"references={path}: no line has video and query of a pair of the split")
    return dict(found), others


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


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
