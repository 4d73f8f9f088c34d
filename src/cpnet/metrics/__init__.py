"""Metrics of video grounding: one collection holds them all and names them.

A metric has two names: the key under which it is computed and logged (``R1@0.5``), and the one that a table prints
(``R@1,IoU=0.5``).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from torchmetrics import Metric, MetricCollection

from cpnet.metrics.mean_iou import MeanIoU
from cpnet.metrics.recall import DiscountedRecallAtIoU, RecallAtIoU
from cpnet.metrics.trivial import best_constant, predict_constant, trivial_predictors

__all__ = [
    "DiscountedRecallAtIoU",
    "GroundingMetrics",
    "MeanIoU",
    "RecallAtIoU",
    "best_constant",
    "grounding_metrics",
    "predict_constant",
    "printed_name",
    "trivial_predictors",
]


class GroundingMetrics(MetricCollection):
    """A ``MetricCollection`` whose keys may hold a dot, which the names of torch's modules may not."""

    def __getitem__(self, key: str, copy_state: bool = True) -> Metric:
        return super().__getitem__(key.replace(".", "_"), copy_state)

    def _set_name(self, base: str) -> str:
        return super()._set_name(base.replace("_", "."))


def grounding_metrics(
    *,
    recall_at: Sequence[int] = (1,),
    thresholds: Sequence[float] = (0.3, 0.5, 0.7),
    strict: bool = False,
    discounted: bool = True,
    prefix: str = "",
) -> GroundingMetrics:
    """Collect R@n,IoU=m, dR@n,IoU@m and mIoU under the keys ``R1@0.5``, ``dR1@0.5`` and ``mIoU``.

    ``update(ranked_sec, target_sec, duration_sec)`` is that of ``PairMean``; ``compute()`` gives per cent by key.

    Args:
        recall_at: every n
        thresholds: every m, each in (0, 1]
        strict: ask for an IoU above m instead of at least m
        discounted: whether dR@n,IoU@m is wanted
        prefix: put before every key, such as ``test/``

    Raises:
        ValueError: if an n is below 1 or a threshold outside (0, 1].

    >>> metrics = grounding_metrics(thresholds=(0.5,), prefix="test/")
    >>> list(metrics.keys())
    ['test/R1@0.5', 'test/dR1@0.5', 'test/mIoU']
    """
    recalls = {"R": RecallAtIoU, "dR": DiscountedRecallAtIoU} if discounted else {"R": RecallAtIoU}
    metrics: dict[str, Metric | MetricCollection] = {
        f"{letter}{n}@{threshold:g}".replace(".", "_"): recall(n=n, threshold=threshold, strict=strict)
        for letter, recall in recalls.items()
        for n in recall_at
        for threshold in thresholds
    }
    metrics["mIoU"] = MeanIoU()
    # Compute groups join metrics whose states are equal after the first batch, as R@1 at two thresholds may well be.
    return GroundingMetrics(metrics, prefix=prefix or None, compute_groups=False)


def printed_name(key: str) -> str:
    """Spell a key as tables print it.

    Raises:
        ValueError: if no metric has this key.

    >>> printed_name("R1@0.5"), printed_name("dR5@0.7"), printed_name("mIoU")
    ('R@1,IoU=0.5', 'dR@5,IoU@0.7', 'mIoU')
    """
    if key == "mIoU":
        return key
    match = re.fullmatch(r"(d?R)(\d+)@(\d[\d.]*)", key)
    if match is None:
        raise ValueError(f"a metric's key is mIoU or like R1@0.5 or dR1@0.5, got {key!r}")
    letter, n, threshold = match.groups()
    return f"{letter}@{n},IoU{'=' if letter == 'R' else '@'}{threshold}"
