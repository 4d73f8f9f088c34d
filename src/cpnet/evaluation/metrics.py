"""Metrics of video grounding as torchmetrics classes, and the collection that names them."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection

from cpnet.evaluation.functional import Floats, best_iou, check_recall, discounted_recall, recall_at_iou
from cpnet.options import MetricsOptions

RESOLUTION = 2.0**-30  # scores are rounded to multiples of it


class PairMean(Metric):
    """Mean of a score over pairs, in per cent; subclasses define the score of a pair.

    The state is two int64 numbers, summed over batches and processes: the scores as multiples of 2^-30 (1e-9), to which
    they are rounded, and the pairs; only one process may update with a pair. The sum is exact up to 2^33 (8 billion)
    pairs, so the mean depends neither on the order of pairs nor on their distribution over processes. Scores and mean
    are float64 on the host, so that they are the same for every device, also for Apple's MPS, which has no float64.
    Before the first pair the mean is NaN, and torchmetrics warns.
    """

    full_state_update = False

    score_sum: Tensor
    total: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("score_sum", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("total", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    @abstractmethod
    def score(self, ranked_sec: Floats, target_sec: Floats, duration_sec: Floats | None) -> Floats:
        """Return the score of each pair, in [0, 1].

        Shape: as in ``update`` -> (B,)
        """

    def update(self, ranked_sec: Tensor, target_sec: Tensor, duration_sec: Tensor | None = None) -> None:
        """Add the pairs of a batch.

        Shape: ranked_sec (B, N, 2) best first, target_sec (B, 2) or (B, K, 2), duration_sec (B,); all in seconds

        Raises:
            ValueError: if a shape is wrong, or the score needs durations and none are passed.
        """
        duration = None if duration_sec is None else duration_sec.cpu().double().numpy()
        score = self.score(ranked_sec.cpu().double().numpy(), target_sec.cpu().double().numpy(), duration)
        self.score_sum = self.score_sum + int(np.round(score / RESOLUTION).sum())
        self.total = self.total + score.size

    def add_missed(self, pairs: int) -> None:
        """Add pairs without predictions, whose score is 0."""
        self.total = self.total + pairs

    def compute(self) -> Tensor:
        """Return the mean over all pairs so far, in per cent; NaN before the first.

        Shape: () float64, on the host
        """
        return 100 * (self.score_sum.cpu().double() * RESOLUTION) / self.total.cpu()


class MeanIoU(PairMean):
    """Mean IoU of the first prediction with its best true window, in per cent.

    Not comparable with 2D-TAN's number of this name, which is the mean of the best three of five, nor with LGI's, the
    best of five.

    >>> metric = MeanIoU()
    >>> metric.update(torch.tensor([[[0.0, 5.0]], [[8.0, 9.0]]]), torch.tensor([[0.0, 10.0], [0.0, 5.0]]))
    >>> metric.compute().item()
    25.0
    """

    def score(self, ranked_sec: Floats, target_sec: Floats, duration_sec: Floats | None) -> Floats:
        """Return the IoU of the first prediction of each pair; see ``PairMean.score``."""
        return best_iou(ranked_sec, target_sec, n=1)


class RecallAtIoU(PairMean):
    """R@n,IoU=m: percentage of pairs for which one of the first n predictions has an IoU of at least m.

    Args:
        n: number of predictions per pair; a pair with fewer uses all
        threshold: m, in (0, 1]
        strict: count an IoU above m instead of at least m

    Raises:
        ValueError: if ``n`` is below 1 or ``threshold`` outside (0, 1].

    >>> metric = RecallAtIoU(n=1, threshold=0.5)
    >>> metric.update(torch.tensor([[[0.0, 5.0]], [[0.0, 4.0]]]), torch.tensor([[0.0, 10.0], [0.0, 10.0]]))
    >>> metric.compute().item()
    50.0
    """

    def __init__(self, *, n: int, threshold: float, strict: bool = False) -> None:
        super().__init__()
        check_recall(n, threshold)
        self.n, self.threshold, self.strict = n, threshold, strict

    def score(self, ranked_sec: Floats, target_sec: Floats, duration_sec: Floats | None) -> Floats:
        """Return whether each pair is a hit; see ``PairMean.score``."""
        hits = recall_at_iou(ranked_sec, target_sec, n=self.n, threshold=self.threshold, strict=self.strict)
        return hits.astype(np.float64)


class DiscountedRecallAtIoU(RecallAtIoU):
    """dR@n,IoU@m: R@n,IoU=m with each hit discounted by its errors at both ends, in per cent; needs durations.

    See ``functional.discounted_recall``. Arguments and errors are those of ``RecallAtIoU``.

    >>> metric = DiscountedRecallAtIoU(n=1, threshold=0.5)
    >>> metric.update(torch.tensor([[[0.0, 5.0]]]), torch.tensor([[0.0, 10.0]]), torch.tensor([20.0]))
    >>> metric.compute().item()
    75.0
    """

    def score(self, ranked_sec: Floats, target_sec: Floats, duration_sec: Floats | None) -> Floats:
        """Return the discounted hit of each pair; see ``PairMean.score``."""
        if duration_sec is None:
            raise ValueError("dR@n,IoU@m needs the videos' durations: duration_sec must be (B,), got None")
        return discounted_recall(
            ranked_sec, target_sec, duration_sec, n=self.n, threshold=self.threshold, strict=self.strict
        )


class GroundingMetrics(MetricCollection):
    """``MetricCollection`` that allows dots in its keys; torch forbids dots in names of modules."""

    def _set_name(self, base: str) -> str:
        return super()._set_name(base.replace("_", "."))


def grounding_metrics(options: MetricsOptions) -> GroundingMetrics:
    """Collect R@n,IoU=m, dR@n,IoU@m and mIoU under the keys ``R1@0.5``, ``dR1@0.5`` and ``mIoU``.

    Its ``update`` takes the arguments of ``PairMean.update``; ``compute`` returns per cent by key.

    Raises:
        ValueError: if an n is below 1 or a threshold outside (0, 1].

    >>> list(grounding_metrics(MetricsOptions(thresholds=[0.5])).keys())
    ['R1@0.5', 'dR1@0.5', 'mIoU']
    """
    recalls = {"R": RecallAtIoU, "dR": DiscountedRecallAtIoU} if options.discounted else {"R": RecallAtIoU}
    metrics: dict[str, Metric | MetricCollection] = {
        f"{letter}{n}@{threshold:g}".replace(".", "_"): recall(n=n, threshold=threshold, strict=options.strict)
        for letter, recall in recalls.items()
        for n in options.recall_at
        for threshold in options.thresholds
    }
    metrics["mIoU"] = MeanIoU()
    # Compute groups merge metrics with equal states after the first batch, but two thresholds' may be equal by chance.
    return GroundingMetrics(metrics, compute_groups=False)
