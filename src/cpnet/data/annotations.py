"""From the annotation files of a corpus to the moments of its splits, cleaned, with a validation split."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from cpnet.data.cleaning import FLOAT_NOISE_SEC, CleaningReport, clean
from cpnet.data.identity import normalise_id
from cpnet.data.moment import DataError, Moment
from cpnet.data.splits import hold_out

log = logging.getLogger(__name__)

Reader = Callable[..., list[Moment]]
Validation = Literal["file", "holdout", "test"]
SPLITS = ("train", "val", "test")


@dataclass(frozen=True, kw_only=True)
class Annotations:
    """Where the annotations of a corpus lie, and the policy on what is missing or wrong in them.

    Attributes:
        reader: from the files of a split to its moments
        splits: arguments of the reader by split: train, test and, where validation is ``file``, val
        validation: ``file`` reads the split val, ``holdout`` takes training videos, ``test`` selects on the test split
        holdout_fraction: share of the training videos that is held out
        holdout_seed: which of them
        on_defect: what is done about reversed and empty pairs of evaluation splits
        ground_truth: ``raw`` leaves the true spans of evaluation splits as annotated, beyond the video too

    Raises:
        ValueError: an impossible value; the message names its key
    """

    reader: Reader
    splits: Mapping[str, Mapping[str, str]]
    validation: Validation = "holdout"
    holdout_fraction: float = 0.1
    holdout_seed: int = 0
    on_defect: Literal["error", "drop"] = "error"
    ground_truth: Literal["clipped", "raw"] = "clipped"

    def __post_init__(self) -> None:
        for key, value, allowed in (
            ("dataset.validation", self.validation, get_args(Validation)),
            ("dataset.ground_truth", self.ground_truth, ("clipped", "raw")),
        ):
            if value not in allowed:
                raise ValueError(f"{key} must be one of {', '.join(allowed)}; got {value!r}")
        wanted = {"train", "test"} | ({"val"} if self.validation == "file" else set())
        if wanted - self.splits.keys():
            raise ValueError(f"dataset.splits must hold {', '.join(sorted(wanted))}; got {', '.join(self.splits)}")

    def read(self) -> tuple[dict[str, list[Moment]], list[CleaningReport]]:
        """Read and clean every split; give the moments of train, val and test, and what was done to each file.

        Raises:
            DataError: a file is absent or malformed, or an evaluation split has defects
        """
        moments: dict[str, list[Moment]] = {}
        reports = []
        for split in SPLITS:
            if split == "val" and self.validation != "file":
                continue
            training = split == "train"
            moments[split], report = clean(
                self.reader(**self.splits[split]),
                split=split,
                training=training,
                on_defect=self.on_defect,
                clip=training or self.ground_truth == "clipped",
            )
            log.info(report.describe())
            reports.append(report)
        _warn_of_several_durations(moment for split in moments.values() for moment in split)
        if self.validation == "holdout":
            moments["train"], moments["val"] = hold_out(
                moments["train"], fraction=self.holdout_fraction, seed=self.holdout_seed
            )
            log.info(
                "val: %d pairs held out of train, which keeps %d (dataset.validation=holdout)",
                len(moments["val"]),
                len(moments["train"]),
            )
        elif self.validation == "test":
            moments["val"] = moments["test"]
            log.warning("val: is the test split (dataset.validation=test): the checkpoint is selected on test")
        return moments, reports


def _warn_of_several_durations(moments: Iterable[Moment]) -> None:
    """Count in a warning the videos, by normalised id and over all splits, that have durations which differ."""
    duration_secs: dict[str, set[float]] = {}
    for moment in moments:
        duration_secs.setdefault(normalise_id(moment.video), set()).add(moment.duration_sec)
    several = {video: each for video, each in duration_secs.items() if max(each) - min(each) > FLOAT_NOISE_SEC}
    if several:
        listed = [f"{video!r} of {min(each)} to {max(each)} s" for video, each in list(several.items())[:10]]
        log.warning(
            "durations: %d of %d videos have more than one: %s%s; each pair is measured by its own, so correct the "
            "wrong ones in the annotations",
            *(len(several), len(duration_secs), ", ".join(listed), ", ..." if len(several) > 10 else ""),
        )


def check_split(split: str) -> None:
    """Refuse a split that there is not.

    Raises:
        DataError: there is no such split
    """
    if split not in SPLITS:
        raise DataError(f"split must be one of {', '.join(SPLITS)}; got {split!r}")
