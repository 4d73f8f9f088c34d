"""GroundingModule: joins model, loss, metrics and optimiser; no maths of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypedDict

from pytorch_lightning import LightningModule
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from cpnet import spans
from cpnet.batch import GroundingBatch, GroundingOutput
from cpnet.losses import GroundingLoss
from cpnet.metrics import GroundingMetrics, grounding_metrics


class Prediction(TypedDict):
    """Answers to a batch, on the CPU.

    Shape: index (B,), ranked_sec (B, N, 2) float64 in seconds, iou (B,) of the first prediction
    """

    index: Tensor
    ranked_sec: Tensor
    iou: Tensor


class EpochMeans:
    """Weighted means of scalars over an epoch, summed where they lie: to log them step by step costs more than this.

    >>> means = EpochMeans()
    >>> means.add({"loss": 1.0}, weight=3)
    >>> means.add({"loss": 5.0}, weight=1)
    >>> means.take()
    {'loss': (2.0, 4)}
    """

    def __init__(self) -> None:
        self._sums: dict[str, tuple[Tensor | float, int]] = {}

    def add(self, values: Mapping[str, Tensor | float], *, weight: int) -> None:
        """Add the means of ``weight`` pairs or steps."""
        for name, value in values.items():
            known, total = self._sums.get(name, (0.0, 0))
            value = value.detach() if isinstance(value, Tensor) else value
            self._sums[name] = known + weight * value, total + weight

    def take(self) -> dict[str, tuple[Tensor | float, int]]:
        """Give each mean with its weight, and begin anew."""
        sums, self._sums = self._sums, {}
        return {name: (value / weight, weight) for name, (value, weight) in sums.items()}


class GroundingModule(LightningModule):
    """Trains and evaluates any model that takes a ``GroundingBatch`` and gives a ``GroundingOutput``.

    Logged: ``train/`` and ``val/`` loss and its terms attention and regression (unweighted); ``train/learning_rate``
    and ``train/gradient_norm``, before clipping; ``val/`` and ``test/`` metrics and ``reversed``, the per cent of raw
    predictions whose end lies before their start.

    Args:
        model: the network
        loss: its terms
        optimizer: from parameters to an optimiser; None for evaluation alone
        scheduler: from the optimiser and ``total_steps`` to a schedule
        metrics: arguments of ``grounding_metrics``
        provenance: plain containers that go into every checkpoint
    """

    def __init__(
        self,
        *,
        model: nn.Module,
        loss: GroundingLoss,
        optimizer: Callable[[Iterable[nn.Parameter]], Optimizer] | None = None,
        scheduler: Callable[..., LRScheduler] | None = None,
        metrics: Mapping[str, Any] | None = None,
        provenance: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.model, self.loss = model, loss
        self.shares_videos = bool(getattr(model, "shares_videos", False))
        self.make_optimizer, self.make_scheduler = optimizer, scheduler
        self.metrics = nn.ModuleDict(
            {split: grounding_metrics(prefix=f"{split}/", **(metrics or {})) for split in ("val", "test")}
        )
        self.means = {split: EpochMeans() for split in ("train", "val", "test")}
        self.provenance = dict(provenance or {})

    def forward(self, batch: GroundingBatch) -> GroundingOutput:
        """Answer a batch."""
        output: GroundingOutput = self.model(batch if self.shares_videos else batch.per_pair())
        return output

    def training_step(self, batch: GroundingBatch, batch_idx: int) -> Tensor:
        """Return the loss of a batch."""
        terms = self.loss(self(batch), batch)
        self.means["train"].add(terms, weight=len(batch))
        return terms["loss"]

    def validation_step(self, batch: GroundingBatch, batch_idx: int) -> None:
        """Measure a batch of the validation split."""
        output = self(batch)
        self.means["val"].add(self.loss(output, batch), weight=len(batch))
        self._measure("val", output, batch)

    def test_step(self, batch: GroundingBatch, batch_idx: int) -> Mapping[str, Any]:
        """Measure a batch of the test split, and return the predictions."""
        ranked_sec = self._measure("test", self(batch), batch)
        iou = spans.iou(ranked_sec[:, 0], batch.span_sec)
        return Prediction(index=batch.index.cpu(), ranked_sec=ranked_sec.cpu(), iou=iou.cpu())

    def on_train_epoch_start(self) -> None:
        """Forget an epoch that was broken off."""
        self.means["train"].take()

    def on_validation_epoch_start(self) -> None:
        """Forget an epoch that was broken off."""
        self._forget("val")

    def on_test_epoch_start(self) -> None:
        """Forget an epoch that was broken off."""
        self._forget("test")

    def on_train_epoch_end(self) -> None:
        """Log the means over the epoch."""
        self._log("train")

    def on_validation_epoch_end(self) -> None:
        """Log the means over the split, and the metrics."""
        self._log("val")

    def on_test_epoch_end(self) -> None:
        """Log the means over the split, and the metrics."""
        self._log("test")

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Make the optimiser, and the schedule over the steps that the trainer expects."""
        if self.make_optimizer is None:
            return None
        optimizer = self.make_optimizer(self.parameters())
        if self.make_scheduler is None:
            return optimizer
        scheduler = self.make_scheduler(optimizer, total_steps=int(self.trainer.estimated_stepping_batches))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip the gradients by their norm, and note it and the learning rate."""
        parameters = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        norm = get_total_norm([p.grad for p in parameters])
        if gradient_clip_algorithm == "value":
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)
        elif gradient_clip_val:  # 0 means no clipping, as in Lightning
            clip_grads_with_norm_(parameters, gradient_clip_val, norm)
        self.means["train"].add({"gradient_norm": norm, "learning_rate": optimizer.param_groups[0]["lr"]}, weight=1)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what is needed to use the weights without the run's folder."""
        checkpoint["cpnet"] = self.provenance

    def _measure(self, split: str, output: GroundingOutput, batch: GroundingBatch) -> Tensor:
        """Update the metrics, which stay on the device; return the ranked predictions in seconds, (B, N, 2)."""
        ranked_sec = output.ranked.double() * batch.duration_sec[:, None, None]
        self._metrics(split).update(ranked_sec, batch.span_sec, batch.duration_sec)
        reversed_share = 100 * (output.span[:, 0] > output.span[:, 1]).double().mean()
        self.means[split].add({"reversed": reversed_share}, weight=len(batch))
        return ranked_sec

    def _metrics(self, split: str) -> GroundingMetrics:
        metrics = self.metrics[split]
        assert isinstance(metrics, GroundingMetrics)
        return metrics

    def _forget(self, split: str) -> None:
        self.means[split].take()
        self._metrics(split).reset()

    def _log(self, split: str) -> None:
        for name, (value, weight) in self.means[split].take().items():
            self.log(f"{split}/{name}", value, batch_size=weight, sync_dist=True, prog_bar=split == "train")
        if split in self.metrics:
            self.log_dict(dict(self._metrics(split).items()))
