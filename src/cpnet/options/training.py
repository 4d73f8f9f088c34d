"""Options of losses, optimisers, schedules, the trainer and metrics."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from cpnet.options.checks import MISSING, check_choice, check_weight


@dataclass
class LossOptions:
    """Options of ``cpnet.training.losses.GroundingLoss``. A wrong value raises a ``ValueError`` that names its key."""

    attention_weight: float = 1.0
    regression_weight: float = 1.0
    attention_normalizer: str = "target"  # target | literal, the paper's

    def __post_init__(self) -> None:
        check_choice("loss.attention_normalizer", self.attention_normalizer, ("target", "literal"))
        for key in ("attention_weight", "regression_weight"):
            check_weight(f"loss.{key}", getattr(self, key))


@dataclass
class OptimizerOptions:
    """Options of every optimiser. The yaml of an optimiser may add others."""

    _target_: str = MISSING
    _partial_: bool = True
    lr: float = 1e-4
    weight_decay: float = 0.0


@dataclass
class AdamOptions(OptimizerOptions):
    """Options of Adam and AdamW."""

    betas: tuple[float, float] = (0.9, 0.999)
    fused: bool = True  # update all parameters in one kernel


@dataclass
class SchedulerOptions:
    """Options of the schedules in ``cpnet.training.schedules``."""

    _target_: str = MISSING
    _partial_: bool = True
    warmup: float = 0.0  # share of the steps


@dataclass
class TrainerOptions:
    """Arguments of ``pytorch_lightning.Trainer``. Add others with ``+trainer.KEY=VALUE``."""

    _target_: str = "pytorch_lightning.Trainer"
    accelerator: str = "auto"
    devices: Any = 1
    num_nodes: int = 1
    strategy: str = "auto"
    precision: str = "auto"  # auto | 32-true | bf16-mixed | 16-mixed; auto is bf16-mixed if the device supports it
    compile: str = "auto"  # true | false | auto: long trainings on NVIDIA GPUs
    compile_cache: str = "outputs/.compiled"  # folder of compiled programs, reused by later runs
    max_epochs: int = "${epochs}"  # type: ignore[assignment]
    gradient_clip_val: float | None = 0.5
    accumulate_grad_batches: int = 1
    effective_batch_size: int | None = None  # pairs per step; sets accumulate_grad_batches
    log_every_n_steps: int = 50
    num_sanity_val_steps: int = 0
    check_val_every_n_epoch: int = 1
    limit_train_batches: int | float | None = None  # a number of batches or a fraction
    limit_val_batches: int | float | None = None  # a number of batches or a fraction
    limit_test_batches: int | float | None = None  # a number of batches or a fraction
    deterministic: bool = False  # bit-identical runs on GPUs too
    use_distributed_sampler: bool = False  # the DataModule shards; Lightning's sampler would duplicate pairs
    detect_anomaly: bool = False  # name the operation that causes a non-finite gradient; slow
    enable_progress_bar: bool = True
    enable_model_summary: bool = False


@dataclass
class MetricsOptions:
    """Options of ``cpnet.evaluation.metrics.GroundingMetrics``."""

    recall_at: list[int] = field(default_factory=lambda: [1])  # every n of R@n,IoU=m; no more than the model ranks
    thresholds: list[float] = field(default_factory=lambda: [0.3, 0.5, 0.7])  # every m, in (0, 1]
    strict: bool = False  # IoU > m instead of >= m
    discounted: bool = True  # also compute dR@n,IoU@m
