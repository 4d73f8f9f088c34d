"""What is done about annotations that do not fit their video: none of it happens in silence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from cpnet.data.moment import DataError, Moment

# Rounding in the files puts ends up to 3e-14 s past the video; what was annotated has at least two decimals.
FLOAT_NOISE_SEC = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class CleaningReport:
    """What was read and what became of it; counts are of pairs as read, so a dropped pair can be a clipped one too.

    Attributes:
        split: name of the split
        read: pairs read
        videos: distinct videos among them
        clipped_start: starts outside [0, duration] by more than float noise
        clipped_end: ends outside [0, duration] by more than float noise
        clipped_end_over_1s: ends past the video by more than a second
        reversed: pairs whose end lies before their start in the file
        empty: other pairs of which nothing lies inside the video, or whose end is their start
        kept: pairs handed on
        dropped: (qid, "reversed" or "empty") of the rest
    """

    split: str
    read: int
    videos: int
    clipped_start: int
    clipped_end: int
    clipped_end_over_1s: int
    reversed: int
    empty: int
    kept: int
    dropped: tuple[tuple[str, str], ...]

    def describe(self) -> str:
        """One line for the log."""
        return (
            f"{self.split}: read {self.read} pairs of {self.videos} videos; clipped {self.clipped_start} starts and "
            f"{self.clipped_end} ends ({self.clipped_end_over_1s} by more than 1 s); dropped {len(self.dropped)} "
            f"({self.reversed} reversed, {self.empty} empty); kept {self.kept}"
        )


def clean(
    moments: Sequence[Moment],
    *,
    split: str,
    training: bool,
    on_defect: Literal["error", "drop"] = "error",
    clip: bool = True,
) -> tuple[list[Moment], CleaningReport]:
    """Clip both ends of every moment to [0, duration] seconds; empty and reversed ones go, or are an error.

    They are dropped from a training split. In an evaluation split they are an error unless ``on_defect`` is "drop".
    Reversed is judged on the times as read, empty on the clipped ones. Without ``clip`` the pairs that stay keep their
    times as read, which is how some published code evaluates.

    Raises:
        DataError: an evaluation split has a reversed or empty pair, or no pair is left.
    """
    if on_defect not in ("error", "drop"):
        raise DataError(f"dataset.on_defect must be error or drop, found {on_defect!r}")
    kept: list[Moment] = []
    defects: list[tuple[Moment, str]] = []
    for moment in moments:
        clipped = _clip(moment)
        if moment.end_sec < moment.start_sec:
            defects.append((moment, "reversed"))
        elif clipped.end_sec - clipped.start_sec <= FLOAT_NOISE_SEC:
            defects.append((moment, "empty"))
        else:
            kept.append(clipped if clip else moment)
    if defects and not training and on_defect == "error":
        raise DataError(_complaint(defects, split))
    if not kept:
        raise DataError(
            f"{split}: none of the {len(moments)} pairs read is left; check the annotation file and its times' unit"
        )
    return kept, _report(moments, kept, defects, split)


def _clip(moment: Moment) -> Moment:
    start_sec, end_sec = (min(max(time, 0.0), moment.duration_sec) for time in (moment.start_sec, moment.end_sec))
    if (start_sec, end_sec) == (moment.start_sec, moment.end_sec):
        return moment
    return replace(moment, start_sec=start_sec, end_sec=end_sec)


def _complaint(defects: Sequence[tuple[Moment, str]], split: str) -> str:
    listed = [
        f"{moment.qid} ({reason}: {moment.start_sec:.2f} to {moment.end_sec:.2f} of {moment.duration_sec:.2f} s)"
        for moment, reason in defects[:10]
    ]
    more = f" and {len(defects) - 10} more" if len(defects) > 10 else ""
    return (
        f"{split}: {len(defects)} pairs of an evaluation split have no span: {', '.join(listed)}{more}; correct the "
        "annotations, or set dataset.on_defect=drop to evaluate without them"
    )


def _report(
    moments: Sequence[Moment], kept: Sequence[Moment], defects: Sequence[tuple[Moment, str]], split: str
) -> CleaningReport:
    reasons = Counter(reason for _, reason in defects)
    return CleaningReport(
        split=split,
        read=len(moments),
        videos=len({moment.video for moment in moments}),
        clipped_start=sum(_sticks_out(moment.start_sec, moment.duration_sec) for moment in moments),
        clipped_end=sum(_sticks_out(moment.end_sec, moment.duration_sec) for moment in moments),
        clipped_end_over_1s=sum(moment.end_sec - moment.duration_sec > 1 for moment in moments),
        reversed=reasons["reversed"],
        empty=reasons["empty"],
        kept=len(kept),
        dropped=tuple((moment.qid, reason) for moment, reason in defects),
    )


def _sticks_out(time_sec: float, duration_sec: float) -> bool:
    return time_sec < -FLOAT_NOISE_SEC or time_sec > duration_sec + FLOAT_NOISE_SEC
