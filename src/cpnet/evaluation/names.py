"""Metrics by key: their names in tables, and the score of each pair.

A metric has two names: its key in code and logs (``R1@0.5``) and its name in tables (``R@1,IoU=0.5``).
"""

from __future__ import annotations

import re
from typing import Any

from cpnet.evaluation.functional import Floats, best_iou, discounted_recall, recall_at_iou
from cpnet.options import MetricsOptions


def metric_keys(options: MetricsOptions) -> list[str]:
    """Return the keys of the metrics in the order of tables.

    >>> metric_keys(MetricsOptions(thresholds=[0.5]))
    ['R1@0.5', 'dR1@0.5', 'mIoU']
    """
    letters = ("R", "dR") if options.discounted else ("R",)
    recalls = [f"{each}{n}@{m:g}" for each in letters for n in options.recall_at for m in options.thresholds]
    return [*recalls, "mIoU"]


def score_pairs(key: str, ranked: Any, target: Any, duration: Any, *, strict: bool) -> Floats:
    """Return the score of each pair for the metric with this key.

    Shape: ranked (B, N, 2), target (B, 2) or (B, K, 2), duration (B,), all in seconds -> (B,) in [0, 1]

    Raises:
        ValueError: if no metric has this key, its n or threshold is invalid, or a shape is wrong.
    """
    if key == "mIoU":
        return best_iou(ranked, target)
    letter, n, threshold = split_key(key)
    if letter == "R":
        return recall_at_iou(ranked, target, n=n, threshold=threshold, strict=strict).astype(float)
    return discounted_recall(ranked, target, duration, n=n, threshold=threshold, strict=strict)


def split_key(key: str) -> tuple[str, int, float]:
    """Return letter, n and threshold of a recall.

    Raises:
        ValueError: if no recall has this key.

    >>> split_key("dR5@0.7")
    ('dR', 5, 0.7)
    """
    match = re.fullmatch(r"(d?R)(\d+)@(\d+(?:\.\d+)?)", key)
    if match is None:
        raise ValueError(f"a metric's key is mIoU or like R1@0.5 or dR1@0.5, got {key!r}")
    letter, n, threshold = match.groups()
    return letter, int(n), float(threshold)


def printed_name(key: str) -> str:
    """Return the name of a metric in tables.

    Raises:
        ValueError: if no metric has this key.

    >>> printed_name("R1@0.5"), printed_name("dR5@0.7"), printed_name("mIoU")
    ('R@1,IoU=0.5', 'dR@5,IoU@0.7', 'mIoU')
    """
    if key == "mIoU":
        return key
    letter, n, threshold = split_key(key)
    return f"{letter}@{n},IoU{'=' if letter == 'R' else '@'}{threshold:g}"
