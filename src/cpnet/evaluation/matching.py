"""Predictions of any system beside the moments of a split: what is missing, surplus or impossible is counted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cpnet.data.moment import Moment, normalise_id
from cpnet.evaluation.functional import Floats

Key = str | tuple[str, str]  # the qid, or the normalised id of the video and the query
Ranked = Mapping[Key, Sequence[tuple[float, float]]]
ROUNDING_SEC = 1e-3  # beyond the video by less counts as inside: files have rounded times


@dataclass(frozen=True, kw_only=True)
class Matched:
    """Predictions in the order of a split's moments.

    Attributes:
        ranked: best first, in seconds; spans (0, 0), which score 0, where a pair has fewer. Shape: (B, N, 2)
        missing: qids of pairs without a prediction, which score 0
        surplus: keys of predictions for which the split has no pair
        reversed: pairs whose first prediction ends before it starts; it scores 0
        outside: pairs whose first prediction begins before the video or ends behind it; it is scored as it is
    """

    ranked: Floats
    missing: list[str]
    surplus: list[Key]
    reversed: list[str]
    outside: list[str]


def match(moments: Sequence[Moment], ranked: Ranked, *, round_sec: float | None = None) -> Matched:
    """Find the predictions of each moment, by its qid, or by its video and query.

    Args:
        moments: the pairs of a split
        ranked: predictions by key, best first, in seconds
        round_sec: rounds each time to a multiple of it; reversed and outside spans are counted before
    """
    keys = [moment.qid if moment.qid in ranked else video_and_query(moment) for moment in moments]
    found = [ranked.get(key, ()) for key in keys]
    arranged = np.zeros((len(moments), max(1, *map(len, found)) if found else 1, 2))
    for place, spans in enumerate(found):
        if len(spans):
            arranged[place, : len(spans)] = spans
    first, durations = arranged[:, 0], np.array([moment.duration_sec for moment in moments])
    outside = (first.min(axis=1) < -ROUNDING_SEC) | (first.max(axis=1) > durations + ROUNDING_SEC)
    known = set(keys)
    return Matched(
        ranked=arranged if round_sec is None else np.round(arranged / round_sec) * round_sec,
        missing=[moment.qid for moment, spans in zip(moments, found, strict=True) if not len(spans)],
        surplus=[key for key in ranked if key not in known],
        reversed=[moments[place].qid for place in np.flatnonzero(first[:, 1] < first[:, 0]).tolist()],
        outside=[moments[place].qid for place in np.flatnonzero(outside).tolist()],
    )


def key_names(keys: Iterable[Key]) -> list[str]:
    """Return the names of keys in messages.

    >>> key_names(["q1", ("v", "he runs")])
    ['q1', 'v: he runs']
    """
    return [key if isinstance(key, str) else ": ".join(key) for key in keys]


def video_and_query(moment: Moment) -> tuple[str, str]:
    """Return the key of a moment in files without qids."""
    return normalise_id(moment.video), moment.query.strip()
