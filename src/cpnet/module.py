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
        self.provenance = dict(provenance or {})

    def forward(self, batch: GroundingBatch) -> GroundingOutput:
        """Answer a batch."""
        output: GroundingOutput = self.model(batch if self.shares_videos else batch.per_pair())
        return output

    def training_step(self, batch: GroundingBatch, batch_idx: int) -> Tensor:
        """Return the loss of a batch."""
        terms = self.loss(self(batch), batch)
        self._log("train", terms, batch)
        return terms["loss"]

    def validation_step(self, batch: GroundingBatch, batch_idx: int) -> None:
        """Measure a batch of the validation split."""
        output = self(batch)
        self._log("val", self.loss(output, batch), batch)
        self._measure("val", output, batch)

    def test_step(self, batch: GroundingBatch, batch_idx: int) -> Mapping[str, Any]:
        """Measure a batch of the test split, and return the predictions."""
        ranked_sec = self._measure("test", self(batch), batch)
        iou = spans.iou(ranked_sec[:, 0], batch.span_sec)
        return Prediction(index=batch.index.cpu(), ranked_sec=ranked_sec.cpu(), iou=iou.cpu())

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
        """Clip the gradients by their norm, and log it and the learning rate."""
        gradients = [p.grad for p in self.parameters() if p.grad is not None]
        norm = get_total_norm(gradients)
        if gradient_clip_algorithm == "value":
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)
        elif gradient_clip_val:  # 0 means no clipping, as in Lightning
            clip_grads_with_norm_(self.parameters(), gradient_clip_val, norm)
        values = {"train/gradient_norm": norm, "train/learning_rate": optimizer.param_groups[0]["lr"]}
        self.log_dict(values, on_step=False, on_epoch=True, batch_size=1)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what is needed to use the weights without the run's folder."""
        checkpoint["cpnet"] = self.provenance

    def _measure(self, split: str, output: GroundingOutput, batch: GroundingBatch) -> Tensor:
        """Update the metrics, which stay on the device; return the ranked predictions in seconds, (B, N, 2)."""
        ranked_sec = output.ranked.double() * batch.duration_sec[:, None, None]
        metrics = self.metrics[split]
        assert isinstance(metrics, GroundingMetrics)
        metrics.update(ranked_sec, batch.span_sec, batch.duration_sec)
        self.log_dict(dict(metrics.items()), on_step=False, on_epoch=True, batch_size=len(batch))
        reversed_share = 100 * (output.span[:, 0] > output.span[:, 1]).double().mean()
        self._log(split, {"reversed": reversed_share}, batch)
        return ranked_sec

    def _log(self, split: str, values: Mapping[str, Tensor], batch: GroundingBatch) -> None:
        self.log_dict(
            {f"{split}/{name}": value for name, value in values.items()},
            on_step=False,
            on_epoch=True,
            batch_size=len(batch),
            sync_dist=True,
            prog_bar=split == "train",
        )
