"""From a configuration to the objects that it describes."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig, OmegaConf, open_dict
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint, TQDMProgressBar
from pytorch_lightning.trainer.connectors.signal_connector import _SignalConnector
from torch import nn

from cpnet.checkpoint import Checkpoint, CheckpointFiles
from cpnet.config import ConfigError, make_later
from cpnet.data.annotations import Annotations
from cpnet.data.datamodule import GroundingDataModule
from cpnet.data.files import default_store
from cpnet.data.vocabulary import Vocabulary
from cpnet.epoch_lines import EpochLines
from cpnet.interruption import Signals
from cpnet.losses import GroundingLoss
from cpnet.metrics_file import MetricsFile
from cpnet.module import GroundingModule
from cpnet.progress import track
from cpnet.recovery import Recovery
from cpnet.speed import Compilation

log = logging.getLogger(__name__)

STRATEGIES = ("auto", "ddp", "ddp_spawn", "ddp_find_unused_parameters_true", "ddp_find_unused_parameters_false")
REFRESH_BATCHES = 10  # between two looks of the progress bar at the losses, for each of which a GPU must be waited for


class SignalsLeftAlone(_SignalConnector):
    """Has signals do what they would do without Lightning.

    Its own handlers wait for the other processes, which may be waiting for this one's part of something else; in
    SLURM's jobs they write a checkpoint that nothing here goes on from.
    """

    def register_signal_handlers(self) -> None:
        """Register none."""


@contextmanager
def refusals(key: str) -> Iterator[None]:
    """Turn what a constructor refuses into an error of the configuration, under the key of the group it belongs to.

    Raises:
        ConfigError: the constructor refused a value
    """
    try:
        yield
    except ConfigError:
        raise
    except (MisconfigurationException, ValueError, TypeError) as error:
        text = str(error)
        raise ConfigError(text if text.startswith(key) else f"{key}: {text}") from error


def factory(node: DictConfig) -> Callable[..., Any]:
    """Give what makes the object of a node's ``_target_`` when it is called with what the node does not hold."""

    def make(*args: Any, **kwargs: Any) -> Any:
        with refusals(str(node._get_full_key(None))):
            return make_later(node)(*args, **kwargs)

    return make


def instantiate(node: DictConfig, **kwargs: Any) -> Any:
    """Make the object of a node's ``_target_``.

    Raises:
        ConfigError: the constructor refused a value
    """
    return factory(node)(**kwargs)


def instantiate_all(nodes: DictConfig) -> list[Any]:
    """Make the object of every node of a group such as callbacks; one set to null is left out."""
    return [instantiate(node) for node in nodes.values() if node]


def containers(node: DictConfig) -> dict[str, Any]:
    """Resolve a node to plain dictionaries and lists."""
    plain = OmegaConf.to_container(node, resolve=True, throw_on_missing=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def build_annotations(cfg: DictConfig) -> Annotations:
    """Say where the annotations lie and what is done about their defects."""
    dataset: DictConfig = cfg.dataset
    policy = ("validation", "holdout_fraction", "holdout_seed", "on_defect", "ground_truth")
    try:
        return Annotations(
            reader=make_later(dataset.reader),
            splits=containers(dataset.splits),
            **{key: dataset[key] for key in policy},
        )
    except ValueError as error:
        raise ConfigError(str(error)) from error


def feature_arguments(cfg: DictConfig) -> dict[str, Any]:
    """Give the arguments of ``open_features``."""
    features = containers(cfg.dataset.features)
    return {key: features[key] for key in ("path", "layout", "key", "window", "normalise", "concat", "dim")}


def packed_store(cfg: DictConfig) -> Path:
    """Say where the packed store of the features lies, or would lie."""
    packed = cfg.dataset.features.packed
    return Path(packed).expanduser() if packed else default_store(feature_arguments(cfg))


def build_datamodule(
    cfg: DictConfig, *, vocabulary: Vocabulary | None = None, tested: str = "test"
) -> GroundingDataModule:
    """Make the DataModule; with a checkpoint's vocabulary, word vectors are looked up only for words it lacks."""
    dataset: DictConfig = cfg.dataset
    words = dataset.word_vectors
    glove = [Path(path).expanduser() for path in (words.path, words.subset) if path]
    chosen = next((path for path in glove if path.exists()), glove[0])
    if chosen != glove[0]:
        log.info("word vectors: %s is not there; %s serves instead", *glove)
    try:
        return GroundingDataModule(
            annotations=build_annotations(cfg),
            features=feature_arguments(cfg),
            packed=packed_store(cfg),
            residence=dataset.features.residence,
            gpu=cfg.trainer.get("accelerator") in ("auto", "gpu", "cuda") and torch.cuda.is_available(),
            glove=chosen,
            word_dim=words.dim,
            sampling=instantiate(cfg.sampling),
            vocabulary=vocabulary,
            blind=dataset.blind,
            max_words=dataset.max_words,
            batch_size=cfg.batch_size,
            num_workers=cfg.num_workers,
            seed=cfg.seed,
            evaluation_order=cfg.evaluation_order,
            tested=tested,
            corpus=instantiate(dataset.generate) if dataset.generate else None,
            progress=track,
        )
    except ValueError as error:
        raise ConfigError(str(error)) from error


def build_module(
    cfg: DictConfig,
    vocabulary: Vocabulary,
    *,
    provenance: dict[str, Any] | None = None,
    training: bool = True,
) -> GroundingModule:
    """Make model, loss and metrics and join them; with an optimiser and a schedule where they are to be trained."""
    model: nn.Module = instantiate(cfg.model, word_vectors=vocabulary.vectors)
    loss: GroundingLoss = instantiate(cfg.loss)
    with refusals("metrics"):
        return GroundingModule(
            model=model,
            loss=loss,
            optimizer=optimizer_factory(cfg) if training else None,
            scheduler=factory(cfg.scheduler) if training else None,
            metrics=containers(cfg.metrics),
            provenance=provenance,
        )


def load_weights(module: GroundingModule, checkpoint: Checkpoint) -> None:
    """Give a module the weights of a checkpoint.

    Raises:
        ConfigError: the module's model is another than the checkpoint's
    """
    try:
        module.load_state_dict(checkpoint.weights)
    except RuntimeError as error:
        mismatch = str(error).splitlines()[-1].strip()
        raise ConfigError(
            f"{checkpoint.path} holds the weights of another model ({mismatch}); leave out what changes weights"
        ) from error


def check_strategy(strategy: str) -> None:
    """Refuse strategies whose processes are copies of a run's, or cut up the model.

    Of the former the samplers are made, and metrics read, outside. They are for places whose command cannot be called
    again, such as a job of submitit, where ``ddp`` calls ``cpnet.train`` anew, see ``cpnet.processes``.

    Raises:
        ConfigError: such a strategy
    """
    if strategy not in STRATEGIES:
        raise ConfigError(f"trainer.strategy={strategy} loses what its processes measure; take ddp")


def make_trainer(cfg: DictConfig, *, callbacks: Sequence[Callback], **arguments: Any) -> Trainer:
    """Make Lightning's trainer, with a callback that compiles the model.

    Raises:
        ConfigError: a value cannot work
    """
    node = cfg.trainer.copy()
    with open_dict(node):
        when, cache = str(node.pop("compile")).lower(), Path(node.pop("compile_cache"))
        effective = node.pop("effective_batch_size", None)
    if when == "auto" and node.get("deterministic"):
        when = "false"
    added: list[Callback] = [Compilation(when, cache=cache)]
    node.enable_progress_bar = node.get("enable_progress_bar", True) and sys.stdout.isatty()
    if node.enable_progress_bar:
        added.append(TQDMProgressBar(refresh_rate=REFRESH_BATCHES))
    if node.strategy == "ddp_spawn":  # as those of ddp, its processes are started anew: by the command
        node.strategy = "ddp"
    made: Trainer = instantiate(node, callbacks=[*callbacks, *added], plugins=[CheckpointFiles()], **arguments)
    made._signal_connector = SignalsLeftAlone(made)
    if effective is not None:
        made.accumulate_grad_batches = accumulation(effective, cfg, processes=made.world_size)
    return made


def accumulation(effective: int, cfg: DictConfig, *, processes: int) -> int:
    """Give the batches that each process adds up for a step of ``effective`` pairs.

    Raises:
        ConfigError: there is no such number, or it is set by itself too
    """
    key, given = f"trainer.effective_batch_size={effective}", cfg.trainer.accumulate_grad_batches
    if given != 1:
        raise ConfigError(f"{key} says how many batches are added up; leave out accumulate_grad_batches={given}")
    together = cfg.batch_size * processes
    if effective < 1 or effective % together:
        raise ConfigError(
            f"{key} must be a multiple of batch_size x processes = {cfg.batch_size} x {processes} = {together}"
        )
    return int(effective // together)


def optimizer_factory(cfg: DictConfig) -> Callable[..., Any]:
    """Give what makes the optimiser.

    Raises:
        ConfigError: torch would take the values for others
    """
    node = cfg.optimizer
    if len(node.get("betas", (0, 0))) != 2:
        raise ConfigError(f"optimizer.betas must be two numbers; got {node.betas}")
    if node.get("fused") and cfg.trainer.precision == "16-mixed":
        node = node.copy()
        node.fused = False  # or it would unscale the gradients itself, after they were clipped
    return factory(node)


def build_trainer(cfg: DictConfig, *, callbacks: Sequence[Callback], signals: Signals | None = None) -> Trainer:
    """Make the trainer of a run with the configuration's loggers and callbacks, and others.

    Args:
        cfg: the configuration
        callbacks: the others
        signals: what may end the run, for the callback that writes last.ckpt then

    Raises:
        ConfigError: a value cannot work, or nothing would choose the checkpoint that is tested
    """
    for key in ("max_epochs", "accumulate_grad_batches"):
        if cfg.trainer[key] < 1:
            name = "epochs" if key == "max_epochs" else f"trainer.{key}"
            raise ConfigError(f"{name} must be 1 or more; got {cfg.trainer[key]}")
    check_strategy(cfg.trainer.strategy)
    # The order of those that Lightning calls last: best.ckpt is chosen, then the row is written, then the state.
    chosen = instantiate_all(cfg.callbacks)
    recoveries = [callback for callback in chosen if isinstance(callback, Recovery)]
    for recovery in recoveries:
        recovery.signals = signals or recovery.signals
    others = [callback for callback in chosen if not isinstance(callback, Recovery)]
    callbacks = [*others, *callbacks, MetricsFile(Path(cfg.output_dir) / "metrics.csv"), *recoveries]
    if cfg.trainer.enable_progress_bar and not sys.stdout.isatty():
        callbacks.append(EpochLines())
    trainer = make_trainer(cfg, callbacks=callbacks, logger=instantiate_all(cfg.logger) or False)
    best = trainer.checkpoint_callback
    if not isinstance(best, ModelCheckpoint) or best.monitor is None:
        raise ConfigError(
            "callbacks.checkpoint must be a ModelCheckpoint with a monitor such as val/mIoU: it chooses what is tested"
        )
    return trainer
