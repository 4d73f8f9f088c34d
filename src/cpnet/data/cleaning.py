"""Clip true windows to their video, and drop or reject defective ones. A report counts the changes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from cpnet.data.moment import Moment, is_test
from cpnet.errors import DataError, cut, shown

Window = tuple[float, float]

# Rounding errors move ends up to 3e-14 s past the video; annotated times have two decimals or more.
FLOAT_NOISE_SEC = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class CleaningReport:
    """Counts of defects and changes in a split, of windows as read: a dropped window may also count as clipped."""

    split: str
    read: int  # pairs read
    videos: int  # distinct videos among them
    windows: int  # their true windows; 0 if the split has none and is only predicted
    clipped_start: int  # starts outside [0, duration] by more than float noise
    clipped_end: int  # ends outside [0, duration] by more than float noise
    clipped_end_over_1s: int  # ends more than a second past the video
    reversed: int  # windows that end before they start
    empty: int  # windows that are not reversed, but of length 0 or completely outside the video
    kept: int  # pairs returned
    dropped: tuple[tuple[str, str], ...]  # (qid, "reversed" or "empty") of each dropped window

    def describe(self) -> str:
        """Return one line for the log."""
        read = f"{self.split}: read {self.read} pairs of {self.videos} videos"
        if not self.windows:
            return f"{read}, without true windows: they can be predicted, not scored"
        return (
            f"{read} with {self.windows} true windows; clipped {self.clipped_start} starts and {self.clipped_end} ends "
            f"({self.clipped_end_over_1s} by more than 1 s); dropped {len(self.dropped)} windows "
            f"({self.reversed} reversed, {self.empty} empty); kept {self.kept} pairs"
        )


def clean(
    moments: Sequence[Moment], *, split: str, drop: bool, clip: bool = True
) -> tuple[list[Moment], CleaningReport]:
    """Clip windows to [0, duration] seconds, and remove those that are reversed before or empty after clipping.

    A pair is dropped if none of its windows is left. The pairs of a test split may all be without true windows.

    Args:
        moments: pairs as read
        split: name of the split, for messages
        drop: drop reversed and empty windows; if false, they are an error
        clip: clip the kept windows; if false, they keep their annotated times, as in some published evaluation code

    Raises:
        DataError: a window is reversed or empty and ``drop`` is false, a pair lacks windows, or no pair is left
    """
    unknown = [moment.qid for moment in moments if not moment.windows_sec]
    if unknown and (not is_test(split) or len(unknown) < len(moments)):
        raise DataError(
            f"{split}: {len(unknown)} of {len(moments)} pairs have no true window (missing or null), the first one "
            f"{shown(unknown[0])}; add windows or remove these pairs; only a test split may have none, to be predicted"
        )
    kept: list[Moment] = []
    defects: list[tuple[Moment, Window, str]] = []
    for moment in moments:
        left = []
        for window in moment.windows_sec:
            start_sec = min(max(window[0], 0.0), moment.duration_sec)
            end_sec = min(max(window[1], 0.0), moment.duration_sec)
            if window[1] < window[0]:
                defects.append((moment, window, "reversed"))
            elif end_sec - start_sec <= FLOAT_NOISE_SEC:
                defects.append((moment, window, "empty"))
            else:
                left.append((start_sec, end_sec) if clip else window)
        if left or unknown:
            kept.append(moment if tuple(left) == moment.windows_sec else replace(moment, windows_sec=tuple(left)))
    if defects and not drop:
        listed = ", ".join(
            f"{cut(moment.qid, 60)} ({reason}: {start:.2f} to {end:.2f} of {moment.duration_sec:.2f} s)"
            for moment, (start, end), reason in defects[:10]
        )
        more = f" and {len(defects) - 10} more" if len(defects) > 10 else ""
        raise DataError(
            f"{split}: {len(defects)} windows of an evaluation split are not spans of their video: {listed}{more}; "
            "correct the annotations, or set dataset.on_defect=drop to evaluate without them"
        )
    if not kept:
        raise DataError(f"{split}: no pair is left of the {len(moments)} read; check the annotation file and its times")
    return kept, _report(moments, kept, defects, split)


def _report(
    moments: Sequence[Moment], kept: Sequence[Moment], defects: Sequence[tuple[Moment, Window, str]], split: str
) -> CleaningReport:
    reasons = Counter(reason for *_, reason in defects)
    windows = [(*window, moment.duration_sec) for moment in moments for window in moment.windows_sec]
    return CleaningReport(
        split=split,
        read=len(moments),
        videos=len({moment.video for moment in moments}),
        windows=len(windows),
        clipped_start=sum(not -FLOAT_NOISE_SEC <= start <= last + FLOAT_NOISE_SEC for start, _, last in windows),
        clipped_end=sum(not -FLOAT_NOISE_SEC <= end <= last + FLOAT_NOISE_SEC for _, end, last in windows),
        clipped_end_over_1s=sum(end - last > 1 for _, end, last in windows),
        reversed=reasons["reversed"],
        empty=reasons["empty"],
        kept=len(kept),
        dropped=tuple((moment.qid, reason) for moment, _, reason in defects),
    )
