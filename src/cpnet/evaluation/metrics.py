"""The metrics of a split as one torchmetrics class."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric

from cpnet.evaluation.names import pair_scores
from cpnet.options import MetricsOptions

RESOLUTION = 2.0**-30  # scores are rounded to multiples of it


class GroundingMetrics(Metric):
    """R@n,IoU=m, dR@n,IoU@m and mIoU over all pairs, in per cent, under the keys of ``pair_scores``.

    The states are int64, summed over batches and processes: the scores as multiples of 2^-30 (1e-9), to which they are
    rounded, and the pairs; only one process may update with a pair. The sums are exact up to 2^33 (8 billion) pairs, so
    the means depend neither on the order of pairs nor on their distribution over processes. Scores and means are
    float64 on the host, so that they are the same for every device, also for Apple's MPS, which has no float64. Before
    the first pair the means are NaN, and torchmetrics warns.

    Raises:
        ValueError: an n is below 1 or a threshold outside (0, 1].

    >>> metrics = GroundingMetrics(MetricsOptions(thresholds=[0.5]))
    >>> metrics.update(torch.tensor([[[0.0, 5.0]], [[8.0, 9.0]]]), torch.tensor([[0.0, 10.0], [0.0, 5.0]]),
    ...                torch.tensor([20.0, 20.0]))
    >>> {key: mean.item() for key, mean in metrics.compute().items()}
    {'R1@0.5': 50.0, 'dR1@0.5': 37.5, 'mIoU': 25.0}
    """

    full_state_update = False

    sums: Tensor
    pairs: Tensor

    def __init__(self, options: MetricsOptions) -> None:
        super().__init__()
        none = np.zeros((0, 1, 2))
        self.options, self.names = options, [*pair_scores(options, none, none, np.zeros(0))]
        self.add_state("sums", torch.zeros(len(self.names), dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("pairs", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, ranked_sec: Tensor, target_sec: Tensor, duration_sec: Tensor) -> None:
        """Add the pairs of a batch.

        Shape: ranked_sec (B, N, 2) best first, target_sec (B, 2) or (B, K, 2), duration_sec (B,); all in seconds

        Raises:
            ValueError: a shape is wrong.
        """
        ranked, target, duration = (each.cpu().double().numpy() for each in (ranked_sec, target_sec, duration_sec))
        scores = pair_scores(self.options, ranked, target, duration).values()
        whole = [int(np.round(score / RESOLUTION).sum()) for score in scores]
        self.sums = self.sums + torch.tensor(whole, device=self.sums.device)
        self.pairs = self.pairs + len(ranked)

    def add_missed(self, pairs: int) -> None:
        """Add pairs without predictions, whose scores are 0."""
        self.pairs = self.pairs + pairs

    def compute(self) -> dict[str, Tensor]:
        """Return the means over all pairs so far by key, in per cent; NaN before the first.

        Shape: () float64 each, on the host
        """
        means = 100 * (self.sums.cpu().double() * RESOLUTION) / self.pairs.cpu()
        return dict(zip(self.names, means, strict=True))
