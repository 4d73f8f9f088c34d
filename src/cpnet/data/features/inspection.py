"""The doctor: what a pack is, and what is wrong with it for a corpus."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cpnet.data.cleaning import CleaningReport
from cpnet.data.features.fingerprint import fingerprint
from cpnet.data.features.hdf5 import Hdf5Features
from cpnet.data.features.packed import PackedFeatures
from cpnet.data.features.published import resembles
from cpnet.data.features.source import FeatureSource, quote
from cpnet.data.features.statistics import VideoStatistics, examine
from cpnet.data.identity import normalise_id
from cpnet.data.moment import DataError, Moment
from cpnet.data.progress import Progress, silent

NEAR = 0.99  # cosine of two signatures from which on videos count as the same one
UNUSUAL = 0.2  # relative deviation from the median rate from which on a video is named
SHORT = 2  # rows that a video should have at least

Splits = Mapping[str, Sequence[Moment]]
Named = dict[str, Any]  # by id of the video


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """How much of a split has features."""

    videos: int
    pairs: int
    missing_videos: tuple[str, ...]
    missing_pairs: int


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """What was found; ids are spelled as in the pack, or as annotated where it lacks them.

    Attributes:
        description: path, layout, key, width
        layout: of the pack
        dim: width that the corpus wants
        videos: statistics of each readable video
        unreadable: what is wrong with each other one
        rates: rows a second of each readable video whose duration is annotated
        coverage: by split
        surplus: videos that no split has
        shared: videos that two splits share, by the splits
        near_duplicates: (split, video, split, video, cosine) of different ids whose rows are nearly the same
        annotations: what is wrong with the annotations of each file
        on_defect: what is done about reversed and empty pairs of evaluation splits
        fingerprint: of the pack; None where a video cannot be read, or widths differ
        looks_like: published packs that agree in all that is known of them
        but: those that agree in corpus and width alone, and what differs
    """

    description: str
    layout: str
    dim: int
    videos: dict[str, VideoStatistics]
    unreadable: dict[str, str]
    rates: dict[str, float]
    coverage: dict[str, Coverage]
    surplus: tuple[str, ...]
    shared: dict[str, tuple[str, ...]]
    near_duplicates: tuple[tuple[str, str, str, str, float], ...]
    annotations: tuple[CleaningReport, ...]
    on_defect: str
    fingerprint: str | None
    looks_like: tuple[str, ...]
    but: tuple[str, ...]

    def named(self, attribute: str) -> Named:
        """Videos for which a count is not 0, with the count."""
        return {name: count for name, video in self.videos.items() if (count := getattr(video, attribute))}

    def widths(self) -> Counter[int]:
        """Videos by width."""
        return Counter(video.dim for video in self.videos.values())

    def dtypes(self) -> Counter[str]:
        """Videos by type of their values."""
        return Counter(video.dtype for video in self.videos.values())

    def short(self) -> Named:
        """Videos with too few rows to tell moments apart, and how many they have."""
        return {name: video.rows for name, video in self.videos.items() if video.rows < SHORT}

    def unusual(self) -> Named:
        """Videos whose rate is far from the median, and their rates."""
        if not self.rates:
            return {}
        median = float(np.median([*self.rates.values()]))
        return {name: rate for name, rate in self.rates.items() if abs(rate - median) > UNUSUAL * median}

    def problems(self) -> list[str]:
        """Say what keeps a model from being trained on the pack and what to do about it, a line each.

        Defects of videos that no split has are told elsewhere, but keep nothing from being trained.
        """
        found, surplus = [], set(self.surplus)
        for split, covered in self.coverage.items():
            if covered.missing_videos:
                found.append(
                    f"{len(covered.missing_videos)} of {covered.videos} videos of split {split} have no features, and "
                    f"{covered.missing_pairs} of {covered.pairs} pairs need them: {quote(covered.missing_videos)}; set "
                    "dataset.features.path to a pack that has them all"
                )
        if unreadable := {name: why for name, why in self.unreadable.items() if name not in surplus}:
            first = next(iter(unreadable.values()))
            found.append(f"{len(unreadable)} videos cannot be read: {quote(unreadable)}; the first: {first}")
        if bad := {name: rows for name, rows in self.named("not_finite").items() if name not in surplus}:
            found.append(
                f"{len(bad)} videos hold NaN or infinity, in {sum(bad.values())} rows: {quote(bad)}; extract them again"
            )
        needed = {name: video for name, video in self.videos.items() if name not in surplus}
        if wrong := {name: video.dim for name, video in needed.items() if video.dim != self.dim}:
            total, widths = len(needed), Counter(wrong.values())
            wide = ", ".join(f"{count} of {total} videos are {width} wide" for width, count in widths.items())
            alike = len(self.widths()) == 1
            remedy = f"set dataset.features.dim={max(widths)}" if alike else "extract them again, all with one model"
            found.append(
                f"{wide}, not {self.dim} as dataset.features.dim says: {quote(wrong)}; take another pack, or {remedy}"
            )
        defective = [report for report in self.annotations if report.dropped and report.split != "train"]
        found += [
            f"{len(report.dropped)} pairs of split {report.split} are reversed or empty: "
            f"{quote(qid for qid, _ in report.dropped)}; correct them, or set dataset.on_defect=drop"
            for report in defective
            if self.on_defect == "error"
        ]
        return found


def inspect(
    source: FeatureSource,
    splits: Splits,
    *,
    dataset: str,
    dim: int,
    annotations: Sequence[CleaningReport] = (),
    on_defect: str = "error",
    progress: Progress = silent,
) -> Inspection:
    """Read a whole pack, one video at a time, and compare it with a corpus; writes nothing.

    Args:
        source: the pack
        splits: moments of each split
        dataset: name of the corpus
        dim: width that it wants
        annotations: what was done to its annotations
        on_defect: what training does about reversed and empty pairs of evaluation splits
        progress: wraps the ids while they are read
    """
    durations = {normalise_id(moment.video): moment.duration_sec for split in splits.values() for moment in split}
    videos: dict[str, VideoStatistics] = {}
    unreadable: dict[str, str] = {}
    for name in progress(list(source.ids()), "inspecting"):
        try:
            stored = source.stored(name)
            if isinstance(source, PackedFeatures) and zlib.crc32(stored.data) != source.checksum(name):
                raise DataError(f"{source.path}: the rows of {name!r} are damaged; pack the features again")
            videos[name] = examine(stored)
        except DataError as error:
            unreadable[name] = str(error)
        if len(videos) % 64 == 0:
            source.release()
    rates = {
        name: video.rows / durations[normalise_id(name)]
        for name, video in videos.items()
        if normalise_id(name) in durations
    }
    widths = Counter(video.dim for video in videos.values())
    agreeing, differing = resembles(
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
        surplus=tuple(name for name in source.ids() if normalise_id(name) not in durations),
        shared=dict(_shared(splits)),
        near_duplicates=tuple(_near_duplicates(splits, {normalise_id(name): (name, v) for name, v in videos.items()})),
        annotations=tuple(annotations),
        on_defect=on_defect,
        fingerprint=None if unreadable else _fingerprint(source),
        looks_like=tuple(pack.name for pack in agreeing),
        but=tuple(differing),
    )


def _fingerprint(source: FeatureSource) -> str | None:
    if isinstance(source, PackedFeatures):
        return source.fingerprint
    try:
        return fingerprint(source)
    except DataError:  # widths that differ, which are told apart
        return None


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


def _near_duplicates(
    splits: Splits, videos: Mapping[str, tuple[str, VideoStatistics]]
) -> Iterator[tuple[str, str, str, str, float]]:
    """Compare the signatures of all videos of two splits, less what all videos have in common."""
    signatures = {identity: video.signature for identity, (_, video) in videos.items()}
    known = [identity for identity, each in signatures.items() if each.any() and np.isfinite(each).all()]
    if len(known) < 3:  # what they have in common is not known
        return
    table = np.stack([signatures[identity] for identity in known]).astype(np.float64)
    table -= np.median(table, axis=0)  # not the mean, which one video of huge values would take away with it
    norms = np.linalg.norm(table, axis=1, keepdims=True)
    table /= np.where(norms > 0, norms, 1)
    places = {identity: place for place, identity in enumerate(known)}
    members = {
        split: sorted({i for moment in moments if (i := normalise_id(moment.video)) in places})
        for split, moments in splits.items()
    }
    for first, second in combinations(members, 2):
        for a, b, cosine in _close(table, *([places[i] for i in members[split]] for split in (first, second))):
            if a != b:
                yield first, videos[known[a]][0], second, videos[known[b]][0], cosine


def _close(table: NDArray[np.float64], left: list[int], right: list[int]) -> Iterator[tuple[int, int, float]]:
    others = table[right].T
    for begin in range(0, len(left), 1024):  # so that all products of large splits are not there at once
        part = left[begin : begin + 1024]
        cosines = table[part] @ others
        for row, column in np.argwhere(cosines > NEAR).tolist():
            yield part[row], right[column], float(cosines[row, column])
