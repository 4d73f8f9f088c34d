"""Recognise times that are not in seconds, before they are clipped or dropped, and convert them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from statistics import median

from cpnet.data.moment import Moment
from cpnet.errors import DataError

log = logging.getLogger(__name__)

SECONDS: dict[str, Callable[[float], float]] = {  # seconds per unit, by the duration of the video
    "seconds": lambda duration_sec: 1.0,
    "milliseconds": lambda duration_sec: 0.001,
    "percent": lambda duration_sec: duration_sec / 100,
    "fractions": lambda duration_sec: duration_sec,
}
LEAST = 5  # pairs; fewer tell nothing about their file


def in_seconds(moments: Sequence[Moment], *, unit: str | None, split: str) -> list[Moment]:
    """Convert times to seconds. Without a unit they are taken as seconds, and refused if they look otherwise.

    Raises:
        DataError: see ``check_unit``
    """
    if unit is None:
        check_unit([(end, each.duration_sec) for each in moments for _, end in each.windows_sec], split=split)
        return list(moments)
    converted = []
    for each in moments:
        factor = SECONDS[unit](each.duration_sec)
        windows_sec = tuple((start * factor, end * factor) for start, end in each.windows_sec)
        converted.append(replace(each, windows_sec=windows_sec))
    return converted


def check_unit(ends: Sequence[tuple[float, float]], *, split: str) -> None:
    """Check that the ends of a file's spans look like seconds; ``ends`` holds (end, duration) pairs.

    Raises:
        DataError: the ends cannot be seconds: the evidence is in the whole file, not in single pairs
    """
    if len(ends) < LEAST:
        return
    ratios = [end / duration for end, duration in ends if end > duration + max(1.0, 0.05 * duration)]
    share, last = len(ratios) / len(ends), _last([end for end, _ in ends])
    duration = median(duration for _, duration in ends)
    unit = ""
    # Limits are a tenth higher, because annotated ends may lie past the end of their video.
    if last <= 1.1 and duration > 5:
        unit = "fractions"
    elif last <= 110 and ((share >= 1 / 2 and last >= 50) or (share >= 1 / 10 and last >= 85)):
        unit = "percent"
    elif share >= 1 / 2:
        unit = "milliseconds" if median(ratios) > 100 else "frames"
    if unit:
        beyond = f"{len(ratios)} of {len(ends)} ends lie past the end of their video, and " if ratios else ""
        way = f"set dataset.time_unit={unit}" if unit in SECONDS else "divide by the frame rate, or correct durations"
        raise DataError(
            f"{split}: the times of the annotations look like {unit}, not seconds: {beyond}nearly all ends are at most "
            f"{last:.4g}, in videos of {duration:.4g} s; "
            f"{way} (docs/annotations.md), or set dataset.time_unit=seconds if they are seconds"
        )
    in_long = [end for end, duration in ends if duration > 150]
    if len(in_long) >= 20 and 85 <= (last := _last(in_long)) <= 110:
        found = f"in {len(in_long)} pairs of videos longer than 150 s, nearly all ends are at most {last:.4g}"
        log.warning("%s: %s; if they are per cent, set dataset.time_unit=percent", split, found)


def _last(ends: Sequence[float]) -> float:
    """Return the end that all but a twentieth of the ends do not exceed."""
    return sorted(ends)[int(0.95 * (len(ends) - 1))]
