"""Recognise times that are not in seconds, before they are clipped or dropped, and convert them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from statistics import median

from cpnet.data.moment import Moment
from cpnet.errors import DataError

log = logging.getLogger(__name__)

SECONDS: dict[str, Callable[[float], float]] = {  # length of a unit in a video of some seconds
    "seconds": lambda duration_sec: 1.0,
    "milliseconds": lambda duration_sec: 0.001,
    "percent": lambda duration_sec: duration_sec / 100,
    "fractions": lambda duration_sec: duration_sec,
}
LEAST = 5  # pairs; fewer tell nothing about their file
SLACK = 1.1  # annotated ends may lie a little past the end of their video


def in_seconds(moments: Sequence[Moment], *, unit: str | None, split: str) -> list[Moment]:
    """Convert times to seconds. Without a unit they are taken as seconds, and refused if they look otherwise.

    Raises:
        DataError: see ``check_unit``
    """
    if unit is None:
        check_unit([(end, each.duration_sec) for each in moments for _, end in each.windows_sec], split=split)
        return list(moments)
    return [_scaled(each, SECONDS[unit](each.duration_sec)) for each in moments]


def _scaled(moment: Moment, factor: float) -> Moment:
    return replace(moment, windows_sec=tuple((start * factor, end * factor) for start, end in moment.windows_sec))


def check_unit(ends: Sequence[tuple[float, float]], *, split: str) -> None:
    """Check that the ends of a file's spans look like seconds; ``ends`` holds (end, duration) pairs.

    Raises:
        DataError: the ends cannot be seconds: the evidence is in the whole file, not in single pairs
    """
    if len(ends) < LEAST:
        return
    ratios = sorted(end / duration for end, duration in ends if end > duration + max(1.0, 0.05 * duration))
    share, last = len(ratios) / len(ends), _last([end for end, _ in ends])
    duration = median(duration for _, duration in ends)
    beyond = f"{len(ratios)} of {len(ends)} ends lie past the end of their video"
    if last <= SLACK and duration > 5:
        _refuse(split, f"nearly all ends are at most {last:.3g}, in videos of {duration:.4g} s", "fractions")
    if last <= 100 * SLACK and ((share >= 1 / 2 and last >= 50) or (share >= 1 / 10 and last >= 85)):
        _refuse(split, f"{beyond}, and nearly all are at most {last:.4g}", "percent")
    if share >= 1 / 2:
        factor = median(ratios)
        _refuse(split, f"{beyond}, half of them by a factor of {factor:.4g}", "milliseconds" if factor > 100 else "")
    in_long = [end for end, duration in ends if duration > 150]
    if share >= 1 / 10 and len(ratios) >= LEAST:
        log.warning("%s: %s; check the durations and the unit of the times (dataset.time_unit)", split, beyond)
    elif len(in_long) >= 20 and 85 <= (last := _last(in_long)) <= 100 * SLACK:
        log.warning(
            "%s: in %d pairs of videos longer than 150 s, nearly all ends are at most %.4g; set "
            "dataset.time_unit=percent if the times are in per cent",
            *(split, len(in_long), last),
        )


def _last(ends: Sequence[float]) -> float:
    """Return the end that all but a twentieth of the ends do not exceed."""
    return sorted(ends)[int(0.95 * (len(ends) - 1))]


def _refuse(split: str, evidence: str, unit: str) -> None:
    frames = "divide frames by the frame rate (docs/annotations.md has the lines), correct wrong durations"
    raise DataError(
        f"{split}: the times of the annotations look like {unit or 'frames'}, not seconds: {evidence}; "
        f"{f'set dataset.time_unit={unit}' if unit else frames}, or set dataset.time_unit=seconds if they are seconds"
    )
