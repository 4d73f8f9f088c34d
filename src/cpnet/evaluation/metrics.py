"""Metrics of video grounding as torchmetrics classes, and the collection that names them.

A metric has two names: its key in code and logs (``R1@0.5``) and its name in tables (``R@1,IoU=0.5``).
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection

from cpnet.evaluation.functional import best_iou, check_recall, discounted_recall, recall_at_iou
from cpnet.options import MetricsOptions

RESOLUTION = 2.0**-30  # scores are rounded to multiples of it


class PairMean(Metric):
    """Mean of a score over pairs, in per cent; subclasses define the score of a pair.

    The state is a float64 sum and an int64 count, summed over batches and processes; only one process may update with a
    pair. Scores are rounded to multiples of 2^-30 (1e-9). Float64 adds 2^23 (8 million) of these exactly, so the mean
    depends neither on the order of pairs nor on their distribution over processes. A type conversion of the module does
    not change the types of the state. Before the first pair the mean is NaN, and torchmetrics warns.
    """

    full_state_update = False

    score_sum: Tensor
    total: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("score_sum", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("total", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    @abstractmethod
    def score(self, ranked_sec: Tensor, target_sec: Tensor, duration_sec: Tensor | None) -> Tensor:
        """Return the score of each pair, in [0, 1].

        Shape: as in ``update`` -> (B,)
        """

    def update(self, ranked_sec: Tensor, target_sec: Tensor, duration_sec: Tensor | None = None) -> None:
        """Add the pairs of a batch.

        Shape: ranked_sec (B, N, 2) best first, target_sec (B, 2) or (B, K, 2), duration_sec (B,); all in seconds

        Raises:
            ValueError: if a shape is wrong, or the score needs durations and none are passed.
        """
        score = self.score(ranked_sec, target_sec, duration_sec)
        steps = (score.double() / RESOLUTION).round()
        self.score_sum = self.score_sum + steps.sum() * RESOLUTION
        self.total = self.total + score.numel()

    def compute(self) -> Tensor:
        """Return the mean over all pairs so far, in per cent; NaN before the first.

        Shape: () float64
        """
        return 100 * self.score_sum / self.total

    def _apply(self, fn: Callable[[Tensor], Tensor], exclude_state: Sequence[str] = "") -> nn.Module:
        # torchmetrics protects its states from .half(), but not from .to(dtype), which "bf16-true" calls.
        return super()._apply(lambda tensor: tensor.to(fn(tensor).device), exclude_state)


class MeanIoU(PairMean):
    """Mean IoU of the first prediction with its best true window, in per cent.

    Not comparable with 2D-TAN's number of this name, which is the mean of the best three of five, nor with LGI's, the
    best of five.

    >>> metric = MeanIoU()
    >>> metric.update(torch.tensor([[[0.0, 5.0]], [[8.0, 9.0]]]), torch.tensor([[0.0, 10.0], [0.0, 5.0]]))
    >>> metric.compute().item()
    25.0
    """

    def score(self, ranked_sec: Tensor, target_sec: Tensor, duration_sec: Tensor | None) -> Tensor:
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

    def score(self, ranked_sec: Tensor, target_sec: Tensor, duration_sec: Tensor | None) -> Tensor:
        """Return whether each pair is a hit; see ``PairMean.score``."""
        return recall_at_iou(ranked_sec, target_sec, n=self.n, threshold=self.threshold, strict=self.strict)


class DiscountedRecallAtIoU(RecallAtIoU):
    """dR@n,IoU@m: R@n,IoU=m with each hit discounted by its errors at both ends, in per cent; needs durations.

    See ``functional.discounted_recall``. Arguments and errors are those of ``RecallAtIoU``.

    >>> metric = DiscountedRecallAtIoU(n=1, threshold=0.5)
    >>> metric.update(torch.tensor([[[0.0, 5.0]]]), torch.tensor([[0.0, 10.0]]), torch.tensor([20.0]))
    >>> metric.compute().item()
    75.0
    """

    def score(self, ranked_sec: Tensor, target_sec: Tensor, duration_sec: Tensor | None) -> Tensor:
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


def grounding_metrics(options: MetricsOptions, *, prefix: str = "") -> GroundingMetrics:
    """Collect R@n,IoU=m, dR@n,IoU@m and mIoU under the keys ``R1@0.5``, ``dR1@0.5`` and ``mIoU``.

    Its ``update`` takes the arguments of ``PairMean.update``; ``compute`` returns per cent by key. ``prefix``
    is prepended to every key, such as ``test/``.

    Raises:
        ValueError: if an n is below 1 or a threshold outside (0, 1].

    >>> list(grounding_metrics(MetricsOptions(thresholds=[0.5]), prefix="test/").keys())
    ['test/R1@0.5', 'test/dR1@0.5', 'test/mIoU']
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
    return GroundingMetrics(metrics, prefix=prefix or None, compute_groups=False)


def printed_name(key: str) -> str:
    """Return the name of a metric in tables.

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
