"""Clip moments to their video, and drop or reject moments without a span. A report counts the changes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from cpnet.data.moment import Moment
from cpnet.errors import DataError, cut

# Rounding errors move ends up to 3e-14 s past the video; annotated times have two decimals or more.
FLOAT_NOISE_SEC = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class CleaningReport:
    """Counts of defects and changes in a split, of pairs as read: a dropped pair may also count as clipped."""

    split: str
    read: int  # pairs read
    videos: int  # distinct videos among them
    clipped_start: int  # starts outside [0, duration] by more than float noise
    clipped_end: int  # ends outside [0, duration] by more than float noise
    clipped_end_over_1s: int  # ends more than a second past the video
    reversed: int  # pairs that end before they start
    empty: int  # pairs that are not reversed, but of length 0 or completely outside the video
    kept: int  # pairs returned
    dropped: tuple[tuple[str, str], ...]  # (qid, "reversed" or "empty") of each dropped pair

    def describe(self) -> str:
        """Return one line for the log."""
        return (
            f"{self.split}: read {self.read} pairs of {self.videos} videos; clipped {self.clipped_start} starts and "
            f"{self.clipped_end} ends ({self.clipped_end_over_1s} by more than 1 s); dropped {len(self.dropped)} "
            f"({self.reversed} reversed, {self.empty} empty); kept {self.kept}"
        )


def clean(
    moments: Sequence[Moment], *, split: str, drop: bool, clip: bool = True
) -> tuple[list[Moment], CleaningReport]:
    """Clip spans to [0, duration] seconds, and remove pairs that are reversed before or empty after clipping.

    Args:
        moments: pairs as read
        split: name of the split, for messages
        drop: drop reversed and empty pairs; if false, they are an error
        clip: clip the kept pairs; if false, they keep their annotated times, as in some published evaluation code

    Raises:
        DataError: a pair is reversed or empty and ``drop`` is false, or no pair is left
    """
    kept: list[Moment] = []
    defects: list[tuple[Moment, str]] = []
    for moment in moments:
        start_sec, end_sec = (min(max(time, 0.0), moment.duration_sec) for time in (moment.start_sec, moment.end_sec))
        if moment.end_sec < moment.start_sec:
            defects.append((moment, "reversed"))
        elif end_sec - start_sec <= FLOAT_NOISE_SEC:
            defects.append((moment, "empty"))
        else:
            kept.append(replace(moment, start_sec=start_sec, end_sec=end_sec) if clip else moment)
    if defects and not drop:
        raise DataError(_complaint(defects, split))
    if not kept:
        raise DataError(
            f"{split}: no pair is left of the {len(moments)} read; check the annotation file and the unit of its times"
        )
    return kept, _report(moments, kept, defects, split)


def _complaint(defects: Sequence[tuple[Moment, str]], split: str) -> str:
    listed = ", ".join(
        f"{cut(moment.qid, 60)} ({reason}: {moment.start_sec:.2f} to {moment.end_sec:.2f} of "
        f"{moment.duration_sec:.2f} s)"
        for moment, reason in defects[:10]
    )
    more = f" and {len(defects) - 10} more" if len(defects) > 10 else ""
    return (
        f"{split}: {len(defects)} pairs of an evaluation split have no span: {listed}{more}; correct the "
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
        clipped_start=sum(_is_outside(moment.start_sec, moment.duration_sec) for moment in moments),
        clipped_end=sum(_is_outside(moment.end_sec, moment.duration_sec) for moment in moments),
        clipped_end_over_1s=sum(moment.end_sec - moment.duration_sec > 1 for moment in moments),
        reversed=reasons["reversed"],
        empty=reasons["empty"],
        kept=len(kept),
        dropped=tuple((moment.qid, reason) for moment, reason in defects),
    )


def _is_outside(time_sec: float, duration_sec: float) -> bool:
    return time_sec < -FLOAT_NOISE_SEC or time_sec > duration_sec + FLOAT_NOISE_SEC
