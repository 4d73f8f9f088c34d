"""Signs that features are stored or extracted wrongly, in one line each: what, how many, and what to do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from statistics import median

from cpnet.data.features.statistics import VideoStatistics
from cpnet.errors import quote

MANY = 3  # videos; fewer may be alike by chance
LARGE = 1e4  # the gradients of an untrained CPNet are 0 there
OVERFLOW = 1e9  # attention over fused features sums fourth powers, and float32 ends at 3.4e38
EFFECTS = {LARGE: "a model hardly learns from them", OVERFLOW: "predictions would be NaN"}
TOLERANCE = 0.05  # relative deviation of a video's rows from its duration

Videos = Mapping[str, VideoStatistics]
Seconds = Mapping[str, float]


def beyond(videos: Videos, limit: float) -> list[str]:
    """Describe videos with values beyond ``LARGE`` or ``OVERFLOW``, if there are any."""
    reached = {name: top for name, video in videos.items() if (top := max(-video.least, video.most)) > limit}
    if not reached:
        return []
    return [
        f"values of {len(reached)} of {len(videos)} videos reach {max(reached.values()):.3g}, and beyond {limit:.0e} "
        f"{EFFECTS[limit]}: {quote(reached)}; set dataset.features.normalise=true, or extract them again"
    ]


def equal_lengths(rows: Mapping[str, int], seconds: Seconds) -> str | None:
    """Describe videos that all have one number of rows although their durations differ."""
    durations = [seconds[name] for name in rows]
    if len(rows) < MANY or len(counts := set(rows.values())) > 1 or max(durations) < (1 + TOLERANCE) * min(durations):
        return None
    # If extraction stops there, the shortest video has at least that many rows.
    covered = len(rows) * min(durations) / sum(durations)
    return (
        f"{len(rows)} of {len(rows)} videos stop at exactly {counts.pop()} rows, though they last {min(durations):.4g} "
        f"to {max(durations):.4g} s; unless each was resampled to that number, at least {1 - covered:.0%} of the "
        "durations is not covered: extract them again, or change dataset.features.transpose if the axes are swapped"
    )


def unfit_lengths(videos: Videos, seconds: Seconds) -> Iterator[str]:
    """Describe videos that are padded with zero rows, stop early, or all have one number of rows."""
    rows = {name: videos[name].rows for name in seconds}
    padded = Counter(video.rows for video in videos.values() if video.padding)
    total, count = padded.most_common(1)[0] if padded else (0, 0)
    if count >= MANY:
        names = [name for name, video in videos.items() if video.padding and video.rows == total]
        share = sum(videos[name].padding for name in names) / (total * count)
        rows = {name: videos[name].rows - videos[name].padding for name in seconds}
        yield (
            f"{count} of {len(videos)} videos are padded with zero rows to {total} rows, {share:.0%} of their rows: "
            f"{quote(names)}; remove these rows, because the rows of a video are taken as spread over its duration"
        )
    most = max(rows.values(), default=0)
    if not (rates := [rows[name] / seconds[name] for name in rows if rows[name] < most]):
        yield from filter(None, [equal_lengths(rows, seconds)])
        return
    rate = median(rates)
    cut = [name for name in rows if rows[name] == most and rate * seconds[name] > (1 + TOLERANCE) * most + 1]
    if len(cut) >= max(MANY, len(rows) / 100):
        share = 1 - len(cut) * most / rate / sum(seconds[name] for name in cut)
        yield (
            f"{len(cut)} of {len(videos)} videos stop at exactly {most} rows, which leaves {share:.0%} of their "
            f"durations without rows, at the {rate:.3g} rows per second of the others: {quote(cut)}; extract them "
            "again, unless each was resampled to that number"
        )
