"""R@n,IoU=m, plain and discounted."""

from __future__ import annotations

from torch import Tensor

from cpnet.metrics.functional import check_recall, discounted_recall, recall_at_iou
from cpnet.metrics.mean_iou import PairMean


class RecallAtIoU(PairMean):
    """R@n,IoU=m: share of pairs, in per cent, for which one of the first n predictions reaches an IoU of m.

    See ``functional.recall_at_iou`` for ties and for fewer than n predictions.

    Args:
        n: how many predictions of a pair are looked at
        threshold: m, in (0, 1]
        strict: ask for an IoU above m instead of at least m

    Raises:
        ValueError: if ``n`` is below 1 or ``threshold`` outside (0, 1].

    >>> import torch
    >>> metric = RecallAtIoU(n=1, threshold=0.5)
    >>> metric.update(torch.tensor([[[0.0, 5.0]], [[0.0, 4.0]]]), torch.tensor([[0.0, 10.0], [0.0, 10.0]]))
    >>> metric.compute().item()
    50.0
    """

    def __init__(self, *, n: int = 1, threshold: float = 0.5, strict: bool = False) -> None:
        super().__init__()
        check_recall(n, threshold)
        self.n, self.threshold, self.strict = n, threshold, strict

    def score(self, ranked_sec: Tensor, target_sec: Tensor, duration_sec: Tensor | None) -> Tensor:
        """Whether each pair is hit; see ``PairMean.score``."""
        return recall_at_iou(ranked_sec, target_sec, n=self.n, threshold=self.threshold, strict=self.strict)


class DiscountedRecallAtIoU(RecallAtIoU):
    """dR@n,IoU@m: R@n,IoU=m with each hit discounted by its errors at both ends, in per cent; needs durations.

    See ``functional.discounted_recall``; arguments and errors are those of ``RecallAtIoU``.

    >>> import torch
    >>> metric = DiscountedRecallAtIoU(n=1, threshold=0.5)
    >>> metric.update(torch.tensor([[[0.0, 5.0]]]), torch.tensor([[0.0, 10.0]]), torch.tensor([20.0]))
    >>> metric.compute().item()
    75.0
    """

    def score(self, ranked_sec: Tensor, target_sec: Tensor, duration_sec: Tensor | None) -> Tensor:
        """Discounted hit of each pair; see ``PairMean.score``."""
        if duration_sec is None:
            raise ValueError(
                "dR@n,IoU@m measures errors in fractions of the video: duration_sec must be (B,), got None"
            )
        return discounted_recall(
            ranked_sec, target_sec, duration_sec, n=self.n, threshold=self.threshold, strict=self.strict
        )
