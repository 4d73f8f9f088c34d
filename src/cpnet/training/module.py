"""Lightning module: joins model, loss, metrics and optimiser."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from typing import Any, NamedTuple

import torch
from pytorch_lightning import LightningModule
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from cpnet.batch import GroundingBatch, GroundingOutput
from cpnet.errors import ConfigError, DataError, quote
from cpnet.evaluation.functional import best_iou
from cpnet.evaluation.metrics import GroundingMetrics
from cpnet.options import MetricsOptions
from cpnet.training.epoch_means import EpochMeans, gather

Loss = Callable[[GroundingOutput, GroundingBatch], Mapping[str, Tensor]]

NOT_FINITE = (  # advice of error messages
    "Features with huge values are the usual cause: python -m cpnet.prepare inspects them, and "
    "dataset.features.normalise=true divides each row by its norm. Otherwise lower optimizer.lr, or set "
    "trainer.precision=32-true"
)


class Prediction(NamedTuple):
    """Predictions of one process for a split, on the CPU.

    Shape: indices (B,), ranked_sec (B, N, 2) float64 in seconds, iou (B,) of the first prediction; NaN without windows
    """

    indices: Tensor
    ranked_sec: Tensor
    iou: Tensor


class GroundingModule(LightningModule):
    """Trains and evaluates any model that maps a ``GroundingBatch`` to a ``GroundingOutput``.

    Logs ``train/`` and ``val/`` loss and its unweighted terms; ``train/learning_rate``; ``train/gradient_norm`` before
    clipping; ``train/skipped``, the number of skipped steps of the run, which the means exclude; ``val/`` and ``test/``
    (see ``tested``) metrics and ``reversed``, the per cent of raw predictions whose end lies before their start.

    Args:
        model: the network; its method ``loss(output, batch)``, if it has one, replaces ``loss``
        loss: maps output and batch to the scalar ``loss`` and its terms; None if the module is only tested
        optimizer: maps parameters to an optimiser; None if the module is only evaluated
        scheduler: maps the optimiser and ``total_steps`` to a schedule
        metrics: options of ``GroundingMetrics``
        provenance: plain containers to store in every checkpoint
    """

    def __init__(
        self,
        *,
        model: nn.Module,
        loss: Loss | None = None,
        optimizer: Callable[[Iterable[nn.Parameter]], Optimizer] | None = None,
        scheduler: Callable[..., LRScheduler] | None = None,
        metrics: MetricsOptions | None = None,
        provenance: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.loss: Loss | None = getattr(model, "loss", loss)
        self.make_optimizer, self.make_scheduler = optimizer, scheduler
        metrics = metrics or MetricsOptions()
        self.metrics = nn.ModuleDict({split: GroundingMetrics(metrics) for split in ("val", "test")})
        self.recall_at = metrics.recall_at
        self.tested = "test"  # prefix of the logged metrics of a test; of a further split its name, test_ood
        self.scored = True  # the tested split has true windows
        self.means = {split: EpochMeans() for split in ("train", "val", "test")}
        self.provenance = dict(provenance or {})
        self._waiting: list[tuple[Mapping[str, Tensor], int]] = []  # losses of the current step's batches
        self._evaluated: list[tuple[Tensor, ...]] = []  # what ``_measure`` takes of each batch of a split
        self.prediction: Prediction | None = None  # of the last test; None if this process had no pair
        self.skipped = 0  # steps whose gradients were not finite
        self.skipped_in_a_row = 0
        self.missed = 0  # pairs of the tested split that have no prediction, because their videos have no features

    def forward(self, batch: GroundingBatch) -> GroundingOutput:
        """Return the model's output for a batch.

        Raises:
            ConfigError: ``metrics.recall_at`` exceeds the number of ranked predictions
        """
        output: GroundingOutput = self.model(batch.for_model(self.model))
        if (most := max(self.recall_at, default=0)) > (ranked := output.ranked.shape[1]):
            raise ConfigError(
                f"metrics.recall_at has {most}, but the model ranks {ranked} predictions a query: remove larger values"
            )
        return output

    def training_step(self, batch: GroundingBatch, batch_idx: int) -> Tensor:
        """Return the loss of a batch."""
        assert self.loss is not None
        terms = self.loss(self(batch), batch)
        self._waiting.append((terms, len(batch)))
        return terms["loss"]

    def validation_step(self, batch: GroundingBatch, batch_idx: int) -> None:
        """Measure a batch of the validation split. It may be empty, see ``ShardSampler``."""
        if not len(batch):
            return
        assert self.loss is not None
        output = self(batch)
        self.means["val"].add(self.loss(output, batch), weight=len(batch))
        self._keep(output, batch)

    def test_step(self, batch: GroundingBatch, batch_idx: int) -> None:
        """Predict a batch of the test split. It may be empty, see ``ShardSampler``."""
        self.scored = batch.windows.shape[1] > 0
        if len(batch):
            self._keep(self(batch), batch)

    def on_train_epoch_end(self) -> None:
        """Log the means over the epoch and the number of skipped steps of the run."""
        self._log("train")
        self.log("train/skipped", float(self.skipped))

    def on_validation_epoch_end(self) -> None:
        """Check that all predictions are finite; log the means over the split and the metrics."""
        self._measure("val")
        self._log("val")

    def on_test_epoch_end(self) -> None:
        """As for validation; missed pairs score 0, and a split without true windows has no metrics."""
        self.prediction = self._measure("test")
        if self.trainer.is_global_zero and self.scored:
            self.metrics["test"].add_missed(self.missed)  # type: ignore[operator]
        self._log("test")

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Build the optimiser and a schedule over all steps of the run."""
        assert self.make_optimizer is not None
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
        """Clip the gradients and record their norm and the learning rate. Skip the step if the norm is not finite.

        Gradients are already summed over processes, so all processes skip the same steps.
        """
        parameters = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        norm = get_total_norm([p.grad for p in parameters])
        waiting, self._waiting = self._waiting, []
        if not bool(norm.isfinite()):
            self.skipped += 1
            self.skipped_in_a_row += 1
            optimizer.zero_grad(set_to_none=True)  # a step without gradients changes nothing
            return
        self.skipped_in_a_row = 0
        for terms, weight in waiting:
            self.means["train"].add(terms, weight=weight)
        if gradient_clip_algorithm == "value":
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)
        elif gradient_clip_val and gradient_clip_val > 0:  # 0 or less means no clipping, as in Lightning
            clip_grads_with_norm_(parameters, gradient_clip_val, norm)
        self.means["train"].add({"gradient_norm": norm, "learning_rate": optimizer.param_groups[0]["lr"]}, weight=1)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add configuration, vocabulary and the number of skipped steps."""
        checkpoint["cpnet"] = self.provenance
        checkpoint["skipped"] = [self.skipped, self.skipped_in_a_row]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the number of skipped steps."""
        self.skipped, self.skipped_in_a_row = checkpoint["skipped"]

    def _keep(self, output: GroundingOutput, batch: GroundingBatch) -> None:
        """Keep what the metrics need of a batch, on its device: each transfer to the host waits for a GPU."""
        self._evaluated.append((batch.index, output.ranked, output.span, batch.windows_sec, batch.duration_sec))

    def _measure(self, split: str) -> Prediction | None:
        """Check the predictions of all batches, and update the metrics; all processes call this together."""
        kept, self._evaluated = self._evaluated, []
        if not kept:
            self._check_finite(split, [])
            return None
        index, ranked, span, windows_sec, duration_sec = (torch.cat(each).cpu() for each in zip(*kept, strict=True))
        self._check_finite(split, index[~ranked.isfinite().flatten(1).all(dim=1)].tolist())
        ranked_sec = ranked.double() * duration_sec[:, None, None]  # float64 on the host: Apple's MPS has none
        self.means[split].add({"reversed": 100 * float((span[:, 0] > span[:, 1]).double().mean())}, weight=len(index))
        iou = torch.full_like(duration_sec, torch.nan)
        if windows_sec.shape[1]:
            self.metrics[split].update(ranked_sec, windows_sec, duration_sec)  # type: ignore[operator]
            iou = torch.from_numpy(best_iou(ranked_sec, windows_sec))
        return Prediction(indices=index, ranked_sec=ranked_sec, iou=iou)

    def _log(self, split: str) -> None:
        prefix = self.tested if split == "test" else split
        for name, mean in self.means[split].compute().items():
            value = torch.tensor(mean, dtype=torch.float64)
            self.log(f"{prefix}/{name}", value, batch_size=1, prog_bar=split == "train")
        if split in self.metrics and (self.scored or split != "test"):
            # Lightning would move the value of a metric that it computes itself, float64, to the metric's device.
            scores = self.metrics[split].compute()  # type: ignore[operator]
            self.log_dict({f"{prefix}/{name}": score for name, score in scores.items()}, batch_size=1)
            self.metrics[split].reset()  # type: ignore[operator]

    def _check_finite(self, split: str, own: list[int]) -> None:
        """Raise a ``DataError`` if a process has pairs whose predictions are not finite."""
        if indices := sorted(chain.from_iterable(gather(own))):
            loader = self.trainer.val_dataloaders if split == "val" else self.trainer.test_dataloaders
            moments = loader.dataset.moments  # type: ignore[union-attr]
            raise DataError(
                f"{len(indices)} of {len(moments)} predictions of the {split} split are not finite\n"
                f"  {quote(moments[index].qid for index in indices)}\n  {NOT_FINITE}"
            )
