"""Splits that the annotations lack: a validation split out of the training videos."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from cpnet.data.identity import normalise_id
from cpnet.data.moment import DataError, Moment


def hold_out(moments: Sequence[Moment], *, fraction: float = 0.1, seed: int) -> tuple[list[Moment], list[Moment]]:
    """Hold out a fraction of the videos, with all their moments, as (train, validation), each in the given order.

    The choice hangs on the seed and the videos' normalised ids alone, not on the moments' order or the platform.

    Raises:
        DataError: the fraction is not between 0 and 1, or it leaves one of the two without a video.
    """
    if not 0 < fraction < 1:
        raise DataError(f"dataset.holdout_fraction must lie between 0 and 1; got {fraction}; try 0.1")
    videos = sorted({normalise_id(moment.video) for moment in moments}, key=lambda video: _rank(seed, video))
    count = round(fraction * len(videos))
    if not 0 < count < len(videos):
        raise DataError(
            f"holding out {fraction} of {len(videos)} videos leaves {len(videos) - count} for training and {count} for "
            "validation; each needs one: change dataset.holdout_fraction, or give a file with dataset.validation=file"
        )
    held_out = set(videos[:count])
    train = [moment for moment in moments if normalise_id(moment.video) not in held_out]
    validation = [moment for moment in moments if normalise_id(moment.video) in held_out]
    return train, validation


def _rank(seed: int, video: str) -> bytes:
    return hashlib.sha256(f"{seed}/{video}".encode()).digest()
