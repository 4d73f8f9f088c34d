"""Signs that features are stored or extracted wrongly, in one line each: what, how many, and what to do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from statistics import median

from cpnet.data.features.source import quote
from cpnet.data.features.statistics import VideoStatistics

MANY = 3  # videos; fewer may be alike by chance
LARGE = 1e4  # published features stay below 1000, and float16 ends at 65504
FLOAT32 = 3.4e38  # largest number
TOLERANCE = 0.05  # relative deviation of a video's rows from its duration

Videos = Mapping[str, VideoStatistics]
Seconds = Mapping[str, float]


def overflow(videos: Videos) -> str | None:
    """Describe videos in which the sum of a row's squares may exceed float32: predictions would be NaN."""
    return _beyond(videos, {name: (FLOAT32 / video.dim) ** 0.5 for name, video in videos.items()})


def large(videos: Videos) -> str | None:
    """Describe videos whose values are far larger than those of any published features."""
    return _beyond(videos, dict.fromkeys(videos, LARGE))


def _beyond(videos: Videos, limits: Mapping[str, float]) -> str | None:
    reached = {name: max(-video.least, video.most) for name, video in videos.items()}
    if not (names := [name for name, value in reached.items() if value > limits[name]]):
        return None
    return (
        f"values of {len(names)} of {len(videos)} videos reach {max(reached[name] for name in names):.3g}, beyond "
        f"{min(limits[name] for name in names):.2g}: {quote(names)}; set dataset.features.normalise=true, or extract "
        "them again"
    )


def equal_lengths(rows: Mapping[str, int], seconds: Seconds) -> str | None:
    """Describe videos that all have one number of rows although their durations differ."""
    durations = [seconds[name] for name in rows]
    if len(rows) < MANY or len(counts := set(rows.values())) > 1 or max(durations) < (1 + TOLERANCE) * min(durations):
        return None
    # If extraction stops there, the shortest video has at least that many rows.
    covered = len(rows) * min(durations) / sum(durations)
    return (
        f"{len(rows)} of {len(rows)} videos stop at exactly {counts.pop()} rows, though they last {min(durations):.4g} "
        f"to {max(durations):.4g} s; this is right if each video was resampled to that number; if extraction stops "
        f"there, at least {1 - covered:.0%} of the durations is not covered: extract them again; if rows and columns "
        "are swapped, change dataset.features.transpose"
    )


def unfit_lengths(videos: Videos, seconds: Seconds) -> Iterator[str]:
    """Describe videos that are padded with zero rows, stop early, or all have one number of rows."""
    padded = Counter(video.rows for video in videos.values() if video.padding)
    total, count = max(padded.items(), key=lambda item: item[1], default=(0, 0))
    if count >= MANY:
        names = [name for name, video in videos.items() if video.padding and video.rows == total]
        share = sum(videos[name].padding for name in names) / (total * count)
        yield (
            f"{count} of {len(videos)} videos are padded with zero rows to {total} rows, {share:.0%} of their rows: "
            f"{quote(names)}; remove these rows, because the rows of a video are taken as spread over its duration"
        )
    rows = {name: videos[name].rows - (videos[name].padding if count >= MANY else 0) for name in seconds}
    most = max(rows.values(), default=0)
    if not (rates := [rows[name] / seconds[name] for name in rows if rows[name] < most]):
        if found := equal_lengths(rows, seconds):
            yield found
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
