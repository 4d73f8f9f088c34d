"""Choose the pairs of a split that are drawn."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cpnet.data.moment import Moment, normalise_id
from cpnet.errors import ConfigError, DataError, quote, shown

MOST, QUERIES = 100, 20  # pairs, each of which takes seconds to draw, and pairs of a video, which share a timeline

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Which pairs to draw: those of qids, of a video, or a number of them by IoU or at random.

    Raises:
        ConfigError: more than one is given, or a number is below 1 or above 100
    """

    qid: Sequence[str] = ()
    video: str | None = None
    worst: int | None = None
    best: int | None = None
    random: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        numbers = {key: getattr(self, key) for key in ("worst", "best", "random")}
        given = [key for key in ("qid", "video", *numbers) if getattr(self, key) not in (None, (), [])]
        if len(given) > 1:
            raise ConfigError(f"{' and '.join(given)} choose pairs in different ways; set one of them")
        for key, number in numbers.items():
            if number is not None and not 1 <= number <= MOST:
                raise ConfigError(f"{key} must be 1 to {MOST}; got {number}")

    def by_name(self, moments: Sequence[Moment], split: str) -> list[int] | None:
        """Return the rows of the named pairs; None if pairs are not chosen by name.

        Raises:
            DataError: the split has no such pair; the message names similar ones
        """
        if self.video is not None:
            wanted = normalise_id(self.video)
            rows = [row for row, moment in enumerate(moments) if normalise_id(moment.video) == wanted]
            if not rows:
                raise DataError(_unknown("video", self.video, [moment.video for moment in moments], split))
            if len(rows) > QUERIES:
                log.warning("video %s has %d pairs; the first %d in time are drawn", self.video, len(rows), QUERIES)
            return sorted(rows, key=lambda row: moments[row].windows_sec)[:QUERIES]
        if not self.qid:
            return None
        places = {moment.qid: row for row, moment in enumerate(moments)}
        for qid in self.qid:
            if qid not in places:
                raise DataError(_unknown("qid", qid, [*places], split))
        return [places[qid] for qid in dict.fromkeys(self.qid)][:MOST]

    def by_iou(self, ious: Sequence[float] | None, pairs: int, *, usual: int) -> list[int]:
        """Return the rows of the worst, best or random pairs; without a wish, ``usual`` ones from low to high IoU.

        Raises:
            ConfigError: a choice by IoU, but the split has no true windows
        """
        if self.random is not None or (ious is None and self.worst is None and self.best is None):
            number = min(self.random or usual, pairs)
            drawn: list[int] = np.random.default_rng(self.seed).choice(pairs, number, replace=False).tolist()
            return drawn
        if ious is None:
            raise ConfigError(
                "worst and best need true windows, which this split lacks; set random=20, or another split"
            )
        order: list[int] = np.argsort(ious, kind="stable").tolist()
        if self.best is not None:
            return order[::-1][: self.best]
        if self.worst is not None:
            return order[: self.worst]
        ranks = np.linspace(0, pairs - 1, min(usual, pairs)).round().astype(int)
        return [order[rank] for rank in ranks]


def _unknown(key: str, value: str, names: Sequence[str], split: str) -> str:
    near = difflib.get_close_matches(value, dict.fromkeys(names), n=5, cutoff=0.6)
    hint = f"similar ones: {quote(near)}" if near else f"the first ones: {quote(dict.fromkeys(names), 5)}"
    return (
        f"{key}={shown(value)}: the {split} split has no such {key}; {hint}. "
        "split=train, val or test chooses the split, checkpoint=PATH another model"
    )
