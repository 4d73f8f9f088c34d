"""The mean of a score over all pairs, and the simplest of them: mIoU."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from cpnet.metrics.functional import best_iou

RESOLUTION = 2.0**-30  # of a score


class PairMean(Metric):
    """Mean of a score over pairs, in per cent; a subclass says what the score of a pair is.

    The state is a float64 sum and an int64 count, which add up across batches and processes: whoever calls has to see
    that no process is given a pair of another. Scores are rounded to multiples of 2^-30 (1e-9), of which float64 adds
    up 2^23 (8 million) without rounding: so long the mean does not hang on the order of pairs, nor on who had which.
    The state keeps its types when the module that holds it changes its own. Before the first pair the mean is NaN, and
    torchmetrics warns.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    plot_lower_bound = 0.0
    plot_upper_bound = 100.0

    score_sum: Tensor
    total: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("score_sum", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("total", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    @abstractmethod
    def score(self, ranked_sec: Tensor, target_sec: Tensor, duration_sec: Tensor | None) -> Tensor:
        """Score of each pair, in [0, 1].

        Shape: as in ``update`` -> (B,)
        """

    def update(self, ranked_sec: Tensor, target_sec: Tensor, duration_sec: Tensor | None = None) -> None:
        """Add the pairs of a batch.

        Shape: ranked_sec (B, N, 2) best first, target_sec (B, 2), duration_sec (B,); all in seconds

        Raises:
            ValueError: if a shape is wrong, or the score needs durations and there are none.
        """
        score = self.score(ranked_sec, target_sec, duration_sec)
        steps = (score.double() / RESOLUTION).round()
        self.score_sum = self.score_sum + steps.sum() * RESOLUTION
        self.total = self.total + score.numel()

    def compute(self) -> Tensor:
        """Mean over all pairs so far, in per cent; NaN before the first.

        Shape: () float64
        """
        return 100 * self.score_sum / self.total

    def _apply(self, fn: Callable[[Tensor], Tensor], exclude_state: Sequence[str] = "") -> nn.Module:
        # torchmetrics guards its states against .half(), but not against .to(dtype), which "bf16-true" calls.
        return super()._apply(lambda tensor: tensor.to(fn(tensor).device), exclude_state)


class MeanIoU(PairMean):
    """Mean IoU of the first prediction, in per cent.

    2D-TAN's number of this name is the mean of the best three of five, and LGI's the best of five: not comparable.

    >>> metric = MeanIoU()
    >>> metric.update(torch.tensor([[[0.0, 5.0]], [[8.0, 9.0]]]), torch.tensor([[0.0, 10.0], [0.0, 5.0]]))
    >>> metric.compute().item()
    25.0
    """

    def score(self, ranked_sec: Tensor, target_sec: Tensor, duration_sec: Tensor | None) -> Tensor:
        """IoU of the first prediction of each pair; see ``PairMean.score``."""
        return best_iou(ranked_sec, target_sec, n=1)
