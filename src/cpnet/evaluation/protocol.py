"""The evaluation protocol: all conditions of a result except the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any


class Selection(str, Enum):
    """The split on which the tested checkpoint was chosen."""

    FILE = "file"  # a validation split of its own
    HOLDOUT = "holdout"  # training videos that were held out
    OTHER = "other"  # of the corpus on which the model was trained, which is not the measured one
    TEST = "test"  # the test split itself, which makes test results too high


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """Conditions under which a model was measured. Results of different protocols are not comparable."""

    dataset: str
    split: str  # measured split
    selection: Selection
    holdout_fraction: float  # share of the training videos; used with ``Selection.HOLDOUT``
    strict: bool  # recall counts IoU > m instead of IoU >= m
    ground_truth: str  # clipped to the video, or raw
    on_defect: str  # error or drop: reversed and empty windows of evaluation splits
    missing: Mapping[str, int]  # pairs without features by split, none without any: dropped, but in test missed
    blind: str  # input that is hidden from the model: none, video or query
    features: str  # path of the feature pack
    sampling: Mapping[str, Any]  # options of the sampling policy
