"""Schema of the configuration: the root keys of each command, and registration of all groups."""

from __future__ import annotations

from dataclasses import dataclass, field, make_dataclass
from functools import cache
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING

from cpnet import options
from cpnet.config.resolvers import register_resolvers
from cpnet.options import DatasetOptions, LossOptions, MetricsOptions, RenderedOptions, SyntheticOptions


@dataclass
class SweepConfig:
    """Keys of a multirun."""

    resume: bool = False  # resume the newest sweep of the same name: finished jobs are not run again


@dataclass
class TrainConfig:
    """Root keys of ``python -m cpnet.train``."""

    dataset: Any = MISSING
    model: Any = MISSING
    loss: Any = MISSING
    optimizer: Any = MISSING
    scheduler: Any = MISSING
    sampling: Any = MISSING
    trainer: Any = MISSING
    callbacks: Any = MISSING
    logger: Any = MISSING
    metrics: MetricsOptions = field(default_factory=MetricsOptions)
    model_name: str = MISSING  # name of the preset, in folders and tables
    experiment_name: str | None = None  # set by experiment=NAME
    run_name: str = MISSING  # in trackers; a sweep names its jobs by the overrides that differ
    sweep: SweepConfig = field(default_factory=SweepConfig)
    resume: bool = False  # resume the run in hydra.run.dir, or start one
    resume_from: str | None = None  # resume the run in this folder with its own configuration
    init_from: str | None = None  # begin with the weights of this checkpoint that fit
    data_dir: str = MISSING
    output_dir: str = MISSING
    epochs: int = 100
    batch_size: int = 100
    evaluation_order: str = "video"  # video | split | length; video encodes each video once per batch
    seed: int = 0


@dataclass
class PrepareConfig:
    """Root keys of ``python -m cpnet.prepare``."""

    action: str = MISSING
    dtype: str = MISSING
    output_dir: str = MISSING
    dataset: DatasetOptions = MISSING
    data_dir: str = MISSING
    videos: str | None = None
    features: str | None = None
    backbone: str = MISSING
    weights: str | None = None
    fps: float | None = None
    workers: int | None = None
    by: str | None = None
    folder: str | None = None
    seed: int = 0


@dataclass
class SearchConfig:
    """Root keys of ``python -m cpnet.search``."""

    index: str = MISSING
    videos: str | None = None
    query: str | None = None
    top: int = MISSING
    checkpoint: str | None = None
    backbone: str | None = None
    weights: str | None = None
    fps: float | None = None
    workers: int | None = None
    json: str | None = None


@dataclass
class DashboardConfig:
    """Root keys of ``python -m cpnet.dashboard``."""

    action: str = "save"  # save | dry_run
    entity: str | None = None  # user or team of W&B
    project: str = "cpnet"
    experiment_name: str | None = None  # only runs of this experiment
    thresholds: list[float] = field(default_factory=lambda: [0.3, 0.5, 0.7])  # of R@1
    swept: list[str] = MISSING  # configuration keys: axes of the parallel coordinates


@dataclass
class ReportConfig:
    """Root keys of ``python -m cpnet.report``."""

    runs: Any = MISSING  # a folder, or a list of folders
    experiment_name: str | None = None
    baseline: str | None = None
    baseline_from: str | None = None
    keep: str | None = None
    resamples: int = 2000
    html: bool = False
    attention: Any = 0  # a number of pairs, or all
    output_dir: str = MISSING


@dataclass
class ScoreConfig:
    """Root keys of ``python -m cpnet.score``."""

    predictions: str = MISSING
    against: str | None = None
    split: str = MISSING
    dataset: DatasetOptions = MISSING
    metrics: MetricsOptions = field(default_factory=MetricsOptions)
    breakdown: bool = MISSING
    references: str | None = None
    round_sec: float | None = None
    resamples: int = MISSING
    data_dir: str = MISSING
    output_dir: str = MISSING


@dataclass
class CheckpointConfig:
    """Root keys of commands on a checkpoint and a split. It sets those in ``from_checkpoint.FROM_CHECKPOINT``."""

    split: str = MISSING
    output_dir: str = MISSING
    trainer: Any = MISSING
    dataset: DatasetOptions = MISSING
    sampling: Any = MISSING
    model: Any = MISSING
    model_name: str = MISSING
    metrics: MetricsOptions = MISSING
    data_dir: str = MISSING
    batch_size: int = MISSING
    seed: int = MISSING


@dataclass
class EvaluateConfig(CheckpointConfig):
    """Root keys of ``python -m cpnet.evaluate``."""

    checkpoint: str | None = None
    zero_shot: str | None = None  # backbone that encodes frames and sentences; measured instead of a checkpoint
    weights: str | None = None  # of that backbone; efficientnet_lite0 is installed with its own
    evaluation_order: str = "video"
    probe: Any = None  # all, or a list of probes of docs/probes.md


@dataclass
class FiguresConfig(CheckpointConfig):
    """Root keys of ``python -m cpnet.report figures=true``."""

    figures: bool = True
    checkpoint: str = MISSING
    against: str | None = None
    qid: Any = None  # one, or a list of them
    video: str | None = None
    worst: int | None = None
    best: int | None = None
    random: int | None = None
    references: str | None = None
    video_dir: str | None = None


@dataclass
class ExportConfig:
    """Root keys of ``python -m cpnet.export``."""

    checkpoint: str = MISSING
    format: str = MISSING
    output: str = MISSING


@dataclass
class DemoConfig:
    """Root keys of ``python -m cpnet.demo``."""

    checkpoint: str | None = None
    zero_shot: str | None = None  # backbone that answers without training
    weights: str | None = None
    port: int = MISSING
    top: int = MISSING
    max_mb: float = MISSING
    max_minutes: float = MISSING


@dataclass
class PredictConfig:
    """Root keys of ``python -m cpnet.predict``."""

    video: str | None = None
    videos: str | None = None
    query: Any = None  # a sentence, or a list of them
    queries: str | None = None
    top: int = MISSING
    checkpoint: str | None = None
    zero_shot: str | None = None  # backbone that answers without training
    dataset: Any = None
    duration: float | None = None
    weights: str | None = None
    word_vectors: str | None = None
    json: str | None = None
    picture: str | None = None
    clip: str | None = None
    cache: str | None = None
    data_dir: str = MISSING
    output_dir: str = MISSING


CORPORA = "cpnet.data.corpora"
MODELS: dict[str, tuple[str, type]] = {  # base_NAME: class, and its options
    "cpnet": ("CPNet", options.CPNetOptions),
    "cpnet_plus": ("CPNetPlus", options.CPNetPlusOptions),
    "vslnet": ("VSLNet", options.VSLNetOptions),
    "lgi": ("LGI", options.LGIOptions),
    "two_d_tan": ("TwoDTAN", options.TwoDTANOptions),
    "tmlga": ("TMLGA", options.TMLGAOptions),
    "snag": ("SnAG", options.SnAGOptions),
    "ablr": ("ABLR", options.ABLROptions),
}


FOLDER = ("folder", str, MISSING)  # of a generated corpus
VIDEO_DIM = ("video_dim", int, "${dataset.features.dim}")  # of a model


def with_target(target: str, keys: type, *added: tuple[str, type, str]) -> type:
    """Return the keys of a class: its options, its path, and added ones with their types and defaults."""
    return make_dataclass(f"{target.rpartition('.')[2]}Config", [("_target_", str, target), *added], bases=(keys,))


def register_schemas() -> None:
    """Register each schema as ``base_NAME``, which the yaml files include, and the resolvers of interpolations."""
    register_resolvers()
    _store_schemas()


@cache  # a grounder and several commands may run in one process
def _store_schemas() -> None:
    store = ConfigStore.instance()
    nodes: tuple[tuple[str | None, str, type], ...] = (
        (None, "train", TrainConfig),
        (None, "evaluate", EvaluateConfig),
        (None, "export", ExportConfig),
        (None, "demo", DemoConfig),
        (None, "predict", PredictConfig),
        (None, "prepare", PrepareConfig),
        (None, "score", ScoreConfig),
        (None, "search", SearchConfig),
        (None, "report", ReportConfig),
        (None, "figures", FiguresConfig),
        (None, "dashboard", DashboardConfig),
        ("dataset", "dataset", DatasetOptions),
        ("dataset", "synthetic", with_target(f"{CORPORA}.synthetic.SyntheticCorpus", SyntheticOptions, FOLDER)),
        ("dataset", "rendered", with_target(f"{CORPORA}.rendered.RenderedCorpus", RenderedOptions, FOLDER)),
        *(("model", name, with_target(f"cpnet.models.{of}", keys, VIDEO_DIM)) for name, (of, keys) in MODELS.items()),
        ("loss", "loss", with_target("cpnet.training.losses.GroundingLoss", LossOptions)),
        ("optimizer", "optimizer", options.OptimizerOptions),
        ("optimizer", "adam", options.AdamOptions),
        ("scheduler", "scheduler", options.SchedulerOptions),
        ("sampling", "sampling", options.SamplingOptions),
        ("trainer", "trainer", options.TrainerOptions),
    )
    for group, name, node in nodes:
        store.store(group=group, name=f"base_{name}", node=node)
