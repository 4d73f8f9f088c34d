"""Metrics by key: their names in tables, and the score of each pair.

A metric has two names: its key in code and logs (``R1@0.5``) and its name in tables (``R@1,IoU=0.5``).
"""

from __future__ import annotations

import re

import numpy as np

from cpnet.evaluation.functional import Floats, best_iou, discounted_recall, recall_at_iou
from cpnet.options import MetricsOptions


def pair_scores(options: MetricsOptions, ranked: Floats, target: Floats, duration: Floats) -> dict[str, Floats]:
    """Return the score of each pair by metric, in the order of tables.

    ``mIoU`` is the IoU of the first prediction with its best true window. 2D-TAN's number of this name is the mean of
    the best three of five, LGI's the best of five.

    Shape: ranked (B, N, 2), target (B, 2) or (B, K, 2), duration (B,), all in seconds -> (B,) each, in [0, 1]

    Raises:
        ValueError: an n is below 1, a threshold outside (0, 1], or a shape is wrong.

    >>> pair = np.array([[[0.0, 5.0]]]), np.array([[0.0, 10.0]]), np.array([20.0])
    >>> {key: score.item() for key, score in pair_scores(MetricsOptions(thresholds=[0.5]), *pair).items()}
    {'R1@0.5': 1.0, 'dR1@0.5': 0.75, 'mIoU': 0.5}
    """
    strict, scores = options.strict, dict[str, Floats]()
    recalls = [(n, threshold) for n in options.recall_at for threshold in options.thresholds]
    for n, m in recalls:
        scores[f"R{n}@{m:g}"] = recall_at_iou(ranked, target, n=n, threshold=m, strict=strict).astype(np.float64)
    for n, m in recalls if options.discounted else []:
        scores[f"dR{n}@{m:g}"] = discounted_recall(ranked, target, duration, n=n, threshold=m, strict=strict)
    return scores | {"mIoU": best_iou(ranked, target)}


def printed_name(key: str) -> str:
    """Return the name of a metric in tables; any other text as it is.

    >>> printed_name("R1@0.5"), printed_name("dR5@0.7"), printed_name("mIoU")
    ('R@1,IoU=0.5', 'dR@5,IoU@0.7', 'mIoU')
    """
    match = re.fullmatch(r"(d?R)(\d+)@(\d[\d.e-]*)", key)
    if match is None:
        return key
    letter, n, threshold = match.groups()
    return f"{letter}@{n},IoU{'=' if letter == 'R' else '@'}{threshold}"
