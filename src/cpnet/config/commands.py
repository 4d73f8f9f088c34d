"""Types of the keys at the root of every command."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

from cpnet.config.groups import DatasetConfig, MetricsConfig


@dataclass
class SweepConfig:
    """What a multirun does beside its jobs."""

    resume: bool = False  # go on with the newest folder of this sweep: jobs that are done are not run again
    reuse: str | None = None  # where runs lie, of which those of the same configuration and commit are taken


@dataclass
class TrainConfig:
    """Keys at the root of ``python -m cpnet.train``."""

    dataset: Any = MISSING
    model: Any = MISSING
    loss: Any = MISSING
    optimizer: Any = MISSING
    scheduler: Any = MISSING
    sampling: Any = MISSING
    trainer: Any = MISSING
    callbacks: Any = MISSING
    logger: Any = MISSING
    metrics: MetricsConfig = field(default_factory=MetricsConfig)
    model_name: str = MISSING  # the preset's, for folders and tables
    experiment_name: str | None = None  # of experiment=NAME
    run_name: str = MISSING  # in trackers; a sweep names its jobs by the overrides that differ
    sweep: SweepConfig = field(default_factory=SweepConfig)
    resume: bool = False  # go on with what hydra.run.dir holds; begin where it holds nothing
    resume_from: str | None = None  # go on with the run of this folder, as it was configured
    replay: str | None = None  # look again at the batch of a file that a run with numbers that are not finite has left
    data_dir: str = MISSING
    output_dir: str = MISSING
    epochs: int = 100
    batch_size: int = 100
    num_workers: int = 0
    evaluation_order: str = "video"  # video | split | length; video encodes each video once a batch
    seed: int = 0


@dataclass
class PrepareConfig:
    """Keys at the root of ``python -m cpnet.prepare``."""

    action: str = MISSING
    dtype: str = MISSING
    output_dir: str = MISSING
    dataset: DatasetConfig = MISSING
    data_dir: str = MISSING


@dataclass
class DashboardConfig:
    """Keys at the root of ``python -m cpnet.dashboard``."""

    action: str = "save"  # save | dry_run
    entity: str | None = None  # user or team of W&B
    project: str = "cpnet"
    experiment_name: str | None = None  # only the runs of this one
    thresholds: list[float] = field(default_factory=lambda: [0.3, 0.5, 0.7])  # of R@1
    swept: list[str] = MISSING  # keys of the configuration, axes of the parallel coordinates


@dataclass
class ReportConfig:
    """Keys at the root of ``python -m cpnet.report``."""

    runs: Any = MISSING  # a folder, or a list of folders
    experiment_name: str | None = None
    baseline: str | None = None
    keep: str | None = None
    resamples: int = 2000
    output_dir: str = MISSING


@dataclass
class EvaluateConfig:
    """Keys at the root of ``python -m cpnet.evaluate``; all from ``dataset`` on are the checkpoint's."""

    checkpoint: str = MISSING
    split: str = MISSING
    output_dir: str = MISSING
    trainer: Any = MISSING
    dataset: DatasetConfig = MISSING
    sampling: Any = MISSING
    model: Any = MISSING
    model_name: str = MISSING
    loss: Any = MISSING
    metrics: MetricsConfig = MISSING
    data_dir: str = MISSING
    batch_size: int = MISSING
    num_workers: int = MISSING
    evaluation_order: str = "video"
    seed: int = MISSING
