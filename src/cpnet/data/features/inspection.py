"""Validate a feature pack against a corpus."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from cpnet.data.cleaning import CleaningReport
from cpnet.data.features import suspicious
from cpnet.data.features.fingerprint import fingerprint
from cpnet.data.features.hdf5 import Hdf5Features
from cpnet.data.features.published import resembles
from cpnet.data.features.source import FeatureSource, fix_missing
from cpnet.data.features.statistics import VideoStatistics, examine
from cpnet.data.moment import Moment, normalise_id
from cpnet.errors import DataError, quote
from cpnet.terminal import track

UNUSUAL = 0.2  # relative deviation of a video's rate from the median
SHORT = 2  # minimum number of rows to distinguish moments of a video

Splits = Mapping[str, Sequence[Moment]]


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """Numbers of videos and pairs of a split, and which of them lack features."""

    videos: int
    pairs: int
    missing_videos: tuple[str, ...]
    missing_pairs: int


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """Findings about a pack; ids are spelled as in the pack, or as annotated if the pack lacks them."""

    description: str  # path, layout, key, width
    layout: str
    dim: int  # width that the corpus expects
    videos: dict[str, VideoStatistics]  # readable videos
    unreadable: dict[str, str]  # error message of each unreadable video
    rates: dict[str, float]  # rows per second of each readable video with an annotated duration
    coverage: dict[str, Coverage]  # by split
    surplus: tuple[str, ...]  # videos of the pack that are in no split
    shared: dict[str, tuple[str, ...]]  # videos that are in two splits, by the names of both
    annotations: tuple[CleaningReport, ...]  # defects of each annotation file
    on_defect: str  # policy on reversed and empty windows of evaluation splits
    on_missing: str  # policy on pairs whose videos have no features
    fingerprint: str | None  # None if a video cannot be read, or widths differ
    looks_like: tuple[str, ...]  # published packs that agree in all known properties
    but: tuple[str, ...]  # published packs of the same corpus and width, with their differences

    def named(self, attribute: str) -> dict[str, Any]:
        """Return a count of ``VideoStatistics`` by video, without counts of 0."""
        return {name: count for name, video in self.videos.items() if (count := getattr(video, attribute))}

    def counts(self, attribute: str) -> Counter[Any]:
        """Count the videos by the value of an attribute of ``VideoStatistics``."""
        return Counter(getattr(video, attribute) for video in self.videos.values())

    def short(self) -> dict[str, Any]:
        """Return the number of rows of each video with too few rows to distinguish moments."""
        return {name: video.rows for name, video in self.videos.items() if video.rows < SHORT}

    def unusual(self) -> dict[str, Any]:
        """Return the rate of each video whose rate deviates far from the median."""
        median = float(np.median([*self.rates.values()])) if self.rates else 0.0
        return {name: rate for name, rate in self.rates.items() if abs(rate - median) > UNUSUAL * median}

    def problems(self) -> list[str]:
        """Return one line for each problem that prevents training, with its fix; ignores videos of no split."""
        found, needed, surplus = [], self._needed(), set(self.surplus)
        for split, covered in self.coverage.items():
            if covered.missing_videos and (self.on_missing == "error" or covered.missing_pairs == covered.pairs):
                found.append(
                    f"{len(covered.missing_videos)} of {covered.videos} videos of split {split} have no features, and "
                    f"{covered.missing_pairs} of {covered.pairs} pairs need them: {quote(covered.missing_videos)}; "
                    f"{fix_missing(some=covered.missing_pairs < covered.pairs)}"
                )
        if unreadable := {name: why for name, why in self.unreadable.items() if name not in surplus}:
            first = next(iter(unreadable.values()))
            found.append(f"{len(unreadable)} videos cannot be read: {quote(unreadable)}; the first: {first}")
        if bad := {name: video.not_finite for name, video in needed.items() if video.not_finite}:
            found.append(
                f"{len(bad)} videos hold NaN or infinity, in {sum(bad.values())} rows: {quote(bad)}; extract them again"
            )
        found += [*self._wrong_width(), *suspicious.beyond(needed, suspicious.OVERFLOW)]
        found += [
            f"{len(report.dropped)} windows of split {report.split} are reversed or empty: "
            f"{quote(qid for qid, _ in report.dropped)}; correct them, or set dataset.on_defect=drop"
            for report in self.annotations
            if report.dropped and report.split != "train" and self.on_defect == "error"
        ]
        return found

    def warnings(self) -> list[str]:
        """Return one line for each sign of wrong features that does not prevent training, with its fix."""
        needed = self._needed()
        huge = suspicious.beyond(needed, suspicious.OVERFLOW)
        found = [] if huge else suspicious.beyond(needed, suspicious.LARGE)
        if blank := [name for name, video in needed.items() if video.zero == video.rows]:
            found.append(f"{len(blank)} of {len(needed)} videos are zeros alone: {quote(blank)}; extract them again")
        if not self._wrong_width():
            seconds = {name: needed[name].rows / rate for name, rate in self.rates.items() if name in needed}
            found += suspicious.unfit_lengths(needed, seconds)
        return found

    def _needed(self) -> dict[str, VideoStatistics]:
        surplus = set(self.surplus)
        return {name: video for name, video in self.videos.items() if name not in surplus}

    def _wrong_width(self) -> list[str]:
        needed = self._needed()
        wrong = {name: video.dim for name, video in needed.items() if video.dim != self.dim}
        if not wrong:
            return []
        rows, widths = {video.rows for video in needed.values()}, Counter(wrong.values())
        fix = "use another pack, or extract them again, all with one model"
        if len(rows) == 1 and len(wrong) == len(needed) > 1:
            swap = f"dataset.features.transpose=true dataset.features.dim={min(rows)}"
            fix = f"all have {min(rows)} rows, so they look stored (V, N): set {swap}"
            if len(widths) == 1 and rows != {self.dim}:
                fix = f"set dataset.features.dim={min(widths)}, or, if they are stored (V, N), {swap}"
        elif len(self.counts("dim")) == 1:
            fix = f"use another pack, or set dataset.features.dim={min(widths)}"
        wide = ", ".join(f"{count} of {len(needed)} videos are {width} wide" for width, count in widths.most_common(3))
        return [f"{wide}, but dataset.features.dim={self.dim}: {quote(wrong)}; {fix}"]


def inspect(
    source: FeatureSource,
    splits: Splits,
    *,
    dataset: str,
    dim: int,
    annotations: Sequence[CleaningReport] = (),
    on_defect: str = "error",
    on_missing: str = "error",
) -> Inspection:
    """Read every video of a pack, and compare the pack with a corpus; see ``Inspection`` for the arguments."""
    annotated = {moment.video: moment.duration_sec for split in splits.values() for moment in split}
    durations = {name: second for video, second in annotated.items() if (name := source.find(video)) is not None}
    videos: dict[str, VideoStatistics] = {}
    unreadable: dict[str, str] = {}
    for name in track(list(source.ids()), "inspecting"):
        try:
            videos[name] = examine(source.stored(name))
        except DataError as error:  # noqa: PERF203
            unreadable[name] = str(error)
    rates = {name: video.rows / durations[name] for name, video in videos.items() if name in durations}
    widths = Counter(video.dim for video in videos.values())
    looks_like, but = resembles(
        dataset=dataset,
        layout=source.layout,
        key=source.inner_key() if isinstance(source, Hdf5Features) else None,
        dim=max(widths, key=widths.__getitem__, default=source.dim),
        rate=float(np.median([*rates.values()])) if rates else None,
    )
    return Inspection(
        description=source.describe(),
        layout=source.layout,
        dim=dim,
        videos=videos,
        unreadable=unreadable,
        rates=rates,
        coverage={split: _coverage(source, moments) for split, moments in splits.items()},
        surplus=tuple(name for name in source.ids() if name not in durations),
        shared=dict(_shared(splits)),
        annotations=tuple(annotations),
        on_defect=on_defect,
        on_missing=on_missing,
        fingerprint=None if unreadable or len(widths) > 1 else fingerprint(source),
        looks_like=tuple(looks_like),
        but=tuple(but),
    )


def _coverage(source: FeatureSource, moments: Sequence[Moment]) -> Coverage:
    missing = {normalise_id(video): video for video in source.missing(moment.video for moment in moments)}
    return Coverage(
        videos=len({normalise_id(moment.video) for moment in moments}),
        pairs=len(moments),
        missing_videos=tuple(sorted(missing.values())),
        missing_pairs=sum(normalise_id(moment.video) in missing for moment in moments),
    )


def _shared(splits: Splits) -> Iterator[tuple[str, tuple[str, ...]]]:
    identities = {split: {normalise_id(moment.video) for moment in moments} for split, moments in splits.items()}
    for first, second in combinations(identities, 2):
        if both := identities[first] & identities[second]:
            yield f"{first} and {second}", tuple(sorted(both))
