"""GroundingModule: joins model, loss, metrics and optimiser; no maths of its own."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypedDict

import torch
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
    """Weighted means of scalars over an epoch, kept where they lie: to log them step by step costs more than this.

    The sums are rounded once, at the end: their order, and which process had what, changes no bit of the means.

    >>> means = EpochMeans()
    >>> means.add({"loss": 1.0}, weight=3)
    >>> means.add({"loss": 5.0}, weight=1)
    >>> means.take()
    {'loss': 2.0}
    """

    def __init__(self) -> None:
        self._values: dict[str, list[tuple[Tensor | float, int]]] = {}

    def add(self, values: Mapping[str, Tensor | float], *, weight: int) -> None:
        """Add the means of ``weight`` pairs or steps."""
        for name, value in values.items():
            kept = value.detach() if isinstance(value, Tensor) else value
            self._values.setdefault(name, []).append((kept, weight))

    def forget(self) -> None:
        """Begin anew."""
        self._values = {}

    def take(self) -> dict[str, float]:
        """Give each mean over all processes, also those that one of them does not know, and begin anew.

        All processes call this together.
        """
        here = self.state_dict()
        self.forget()
        everywhere = [here]
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            everywhere *= torch.distributed.get_world_size()
            torch.distributed.all_gather_object(everywhere, here)
        joined: dict[str, list[tuple[float, int]]] = {}
        for each in everywhere:
            for name, kept in each.items():
                joined.setdefault(name, []).extend(kept)
        # A float32 times a whole number is exact in a Python float, and fsum rounds once.
        return {
            name: math.fsum(value * weight for value, weight in kept) / sum(weight for _, weight in kept)
            for name, kept in joined.items()
        }

    def state_dict(self) -> dict[str, list[tuple[float, int]]]:
        """Give the values and weights so far, for a run that goes on within the epoch."""
        return {name: _numbers(kept) for name, kept in self._values.items()}

    def load_state_dict(self, state: Mapping[str, Sequence[tuple[float, int]]]) -> None:
        """Go on from the values and weights of ``state_dict``."""
        self._values = {name: [(value, weight) for value, weight in kept] for name, kept in state.items()}


def _numbers(kept: Sequence[tuple[Tensor | float, int]]) -> list[tuple[float, int]]:
    """Give each value as a number with its weight; a GPU is waited for once."""
    tensors = [value for value, _ in kept if isinstance(value, Tensor)]
    read = iter(torch.stack(tensors).tolist() if tensors else [])
    return [(next(read) if isinstance(value, Tensor) else value, weight) for value, weight in kept]


class GroundingModule(LightningModule):
    """Trains and evaluates any model that takes a ``GroundingBatch`` and gives a ``GroundingOutput``.

    Logged: ``train/`` and ``val/`` loss and its terms attention and regression (unweighted); ``train/learning_rate``;
    ``train/gradient_norm``, before clipping; ``train/skipped``, how many steps the run has skipped, which count in no
    mean; ``val/`` and ``test/`` metrics and ``reversed``, the per cent of raw predictions whose end lies before their
    start.

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
        self._waiting: list[tuple[Mapping[str, Tensor], int]] = []  # losses of batches whose step is to come
        self.skipped = 0  # steps whose gradients were not finite
        self.skipped_in_a_row = 0

    def forward(self, batch: GroundingBatch) -> GroundingOutput:
        """Answer a batch."""
        output: GroundingOutput = self.model(batch if self.shares_videos else batch.per_pair())
        return output

    def training_step(self, batch: GroundingBatch, batch_idx: int) -> Tensor:
        """Return the loss of a batch."""
        terms = self.loss(self(batch), batch)
        self._waiting.append((terms, len(batch)))
        return terms["loss"]

    def validation_step(self, batch: GroundingBatch, batch_idx: int) -> None:
        """Measure a batch of the validation split; a process may have one without pairs, see ``ShardSampler``."""
        if not len(batch):
            return
        output = self(batch)
        self.means["val"].add(self.loss(output, batch), weight=len(batch))
        self._measure("val", output, batch)

    def test_step(self, batch: GroundingBatch, batch_idx: int) -> Mapping[str, Any]:
        """Measure a batch of the test split, and return the predictions."""
        if not len(batch):
            return Prediction(index=batch.index.cpu(), ranked_sec=batch.span_sec[:, None].cpu(), iou=torch.zeros(0))
        ranked_sec = self._measure("test", self(batch), batch)
        iou = spans.iou(ranked_sec[:, 0], batch.span_sec)
        return Prediction(index=batch.index.cpu(), ranked_sec=ranked_sec.cpu(), iou=iou.cpu())

    def on_train_epoch_start(self) -> None:
        """Forget an epoch that was broken off."""
        self.means["train"].forget()
        self._waiting = []

    def on_validation_epoch_start(self) -> None:
        """Forget an epoch that was broken off."""
        self._forget("val")

    def on_test_epoch_start(self) -> None:
        """Forget an epoch that was broken off."""
        self._forget("test")

    def on_train_epoch_end(self) -> None:
        """Log the means over the epoch, and how many steps the run has skipped."""
        self._log("train")
        self.log("train/skipped", float(self.skipped))

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
        """Clip the gradients by their norm, and note it and the learning rate; skip the step where it is not finite.

        With several processes the gradients are those of all of them, so that all skip it.
        """
        parameters = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        norm = get_total_norm([p.grad for p in parameters])
        waiting, self._waiting = self._waiting, []
        if not bool(norm.isfinite()):
            self.skipped += 1
            self.skipped_in_a_row += 1
            optimizer.zero_grad(set_to_none=True)  # without gradients the step changes nothing
            return
        self.skipped_in_a_row = 0
        for terms, weight in waiting:
            self.means["train"].add(terms, weight=weight)
        if gradient_clip_algorithm == "value":
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)
        elif gradient_clip_val:  # 0 means no clipping, as in Lightning
            clip_grads_with_norm_(parameters, gradient_clip_val, norm)
        self.means["train"].add({"gradient_norm": norm, "learning_rate": optimizer.param_groups[0]["lr"]}, weight=1)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what is needed to use the weights without the run's folder, and how many steps were skipped."""
        checkpoint["cpnet"] = self.provenance
        checkpoint["skipped"] = [self.skipped, self.skipped_in_a_row]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on counting the steps that are skipped."""
        self.skipped, self.skipped_in_a_row = checkpoint.get("skipped", (0, 0))

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
        self.means[split].forget()
        self._metrics(split).reset()

    def _log(self, split: str) -> None:
        for name, mean in self.means[split].take().items():
            value = torch.tensor(mean, dtype=torch.float64, device=self.device)
            self.log(f"{split}/{name}", value, batch_size=1, prog_bar=split == "train")
        if split in self.metrics:
            self.log_dict(dict(self._metrics(split).items()))
