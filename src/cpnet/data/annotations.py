"""Read the annotations of a corpus: clean its splits and choose the validation split."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from cpnet.data.cleaning import FLOAT_NOISE_SEC, CleaningReport, clean
from cpnet.data.moment import Moment, is_test, normalise_id
from cpnet.data.time_units import SECONDS, in_seconds
from cpnet.errors import ConfigError, DataError, quote, shown

log = logging.getLogger(__name__)

Reader = Callable[..., list[Moment]]
ALLOWED = {
    "validation": ("file", "holdout", "test"),
    "on_defect": ("error", "drop"),
    "on_missing": ("error", "drop"),
    "ground_truth": ("clipped", "raw"),
    "time_unit": (None, *SECONDS),
}


@dataclass(frozen=True, kw_only=True)
class Annotations:
    """The annotation files of a corpus, and the policies for the validation split and for defects.

    ``cpnet.options.DatasetOptions`` has the defaults.

    Raises:
        ConfigError: a value is invalid; the message names its key
    """

    reader: Reader  # reads the files of a split into moments
    splits: Mapping[str, Mapping[str, str]]  # reader arguments of train, of each test, and of val if validation=file
    validation: str  # file reads val, holdout holds out training videos, test selects on the test split
    holdout_fraction: float  # share of the training videos
    holdout_seed: int
    on_defect: str  # policy on reversed and empty windows of evaluation splits: error or drop
    on_missing: str  # policy on pairs whose videos have no features: error or drop
    ground_truth: str  # true windows of evaluation splits: clipped to the video, or raw (as annotated)
    time_unit: str | None  # of the times of all files, not of the durations; None: seconds, if they look like it

    def __post_init__(self) -> None:
        for key, allowed in ALLOWED.items():
            if (value := getattr(self, key)) not in allowed:
                raise ConfigError(f"dataset.{key} must be one of {', '.join(map(str, allowed))}; got {value!r}")
        wanted = {"train", *({*self.tests} - {"test"} or {"test"}), *(["val"] if self.validation == "file" else [])}
        if {*self.splits} - {"val"} != wanted - {"val"} or wanted - self.splits.keys():
            raise ConfigError(
                f"dataset.splits must hold {', '.join(sorted(wanted))}; got {', '.join(self.splits)}; a corpus has "
                "either test or several splits such as test_iid and test_ood (letters, digits, _ and -)"
            )
        if self.validation == "test" and len(self.tests) > 1:
            raise ConfigError(
                f"dataset.validation=test needs a single test split, but there are {', '.join(self.tests)}; set "
                "dataset.validation=holdout or file"
            )

    @property
    def tests(self) -> tuple[str, ...]:
        """Names of the test splits, in the order of ``splits``: ``test``, or several such as ``test_ood``."""
        return tuple(split for split in self.splits if is_test(split))

    def measured(self, split: str) -> tuple[str, ...]:
        """Return the splits that a name means: ``test`` means all test splits, another name that split.

        Raises:
            DataError: the corpus has no such split
        """
        if split == "test":
            return self.tests
        if split not in (names := ("train", "val", *self.tests)):
            several = "" if "test" in names else "; test means all test splits"
            raise DataError(f"split must be one of {', '.join(names)}{several}; got {split!r}")
        return (split,)

    def read(self, *, without: Collection[str] = ()) -> tuple[dict[str, list[Moment]], list[CleaningReport]]:
        """Read and clean every split; return the moments of train, val and each test, and a report for each file read.

        ``without={"val"}`` leaves the file of a validation split unread.

        Raises:
            DataError: a file is missing or malformed, its times are not seconds, or an evaluation split has defects
        """
        moments: dict[str, list[Moment]] = {}
        reports = []
        if "val" in self.splits and self.validation == "holdout" and "val" not in without:
            log.warning("val: its file is not read (dataset.validation=holdout); dataset.validation=file reads it")
        for split in ("train", "val", *self.tests):
            if split in without or (split == "val" and self.validation != "file"):
                continue
            training = split == "train"
            moments[split], report = clean(
                in_seconds(self.reader(**self.splits[split]), unit=self.time_unit, split=split),
                split=split,
                drop=training or self.on_defect == "drop",
                clip=training or self.ground_truth == "clipped",
            )
            log.info(report.describe())
            reports.append(report)
        _warn_of_different_durations(moment for split in moments.values() for moment in split)
        _warn_of_shared_videos(moments)
        if self.validation == "holdout":
            moments["train"], moments["val"] = hold_out(
                moments["train"], fraction=self.holdout_fraction, seed=self.holdout_seed
            )
            counts = len(moments["val"]), len(moments["train"])
            log.info("val: %d pairs held out of train, %d remain in train (dataset.validation=holdout)", *counts)
        elif self.validation == "test":
            if not reports[-1].windows:
                raise DataError("val: the test split has no true windows; set dataset.validation=holdout or file")
            moments["val"] = moments[self.tests[0]]
            log.warning("val: the test split (dataset.validation=test), so the checkpoint is selected on test")
        return moments, reports


def hold_out(moments: Sequence[Moment], *, fraction: float, seed: int) -> tuple[list[Moment], list[Moment]]:
    """Hold out a fraction of the videos with all their moments; return (train, validation), each in the given order.

    The choice depends only on the seed and the videos' normalised ids.

    Raises:
        DataError: the fraction is not between 0 and 1, or train or validation would have no video
    """
    if not 0 < fraction < 1:
        raise DataError(f"dataset.holdout_fraction must lie between 0 and 1; got {fraction}; try 0.1")
    ids = {normalise_id(moment.video) for moment in moments}
    videos = sorted(ids, key=lambda video: hashlib.sha256(f"{seed}/{video}".encode()).digest())
    count = round(fraction * len(videos))
    if not 0 < count < len(videos):
        raise DataError(
            f"holding out {fraction} of {len(videos)} videos leaves {len(videos) - count} for training and {count} for "
            "validation, but each needs at least one; change dataset.holdout_fraction, or set dataset.validation=file"
        )
    held_out = set(videos[:count])
    train = [moment for moment in moments if normalise_id(moment.video) not in held_out]
    validation = [moment for moment in moments if normalise_id(moment.video) in held_out]
    return train, validation


def _warn_of_different_durations(moments: Iterable[Moment]) -> None:
    durations: dict[str, set[float]] = {}
    for moment in moments:
        durations.setdefault(normalise_id(moment.video), set()).add(moment.duration_sec)
    different = {video: each for video, each in durations.items() if max(each) - min(each) > FLOAT_NOISE_SEC}
    if different:
        first = [*different.items()][:10]
        listed = ", ".join(f"{shown(video, 60)} ({min(each)} to {max(each)} s)" for video, each in first)
        log.warning(
            "durations: %d of %d videos have several: %s; each pair uses its own duration; correct the wrong ones",
            *(len(different), len(durations), listed),
        )


def _warn_of_shared_videos(moments: Mapping[str, Sequence[Moment]]) -> None:
    videos = {split: {normalise_id(moment.video) for moment in each} for split, each in moments.items()}
    for split in [*videos][1:]:
        if seen := sorted(videos[split] & videos["train"]):
            log.warning(
                "%s: %d of %d videos are in train too: %s; results on them do not show how a model does on new videos",
                *(split, len(seen), len(videos[split]), quote(seen)),
            )
