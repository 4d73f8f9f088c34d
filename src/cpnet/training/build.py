"""Build module, callbacks and trainer from the configuration."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, open_dict
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.callbacks import TQDMProgressBar
from pytorch_lightning.loggers import Logger
from torch import nn

from cpnet.config.instantiate import config_errors, containers, factory, instantiate, instantiate_all
from cpnet.data.vocabulary import Vocabulary
from cpnet.errors import ConfigError
from cpnet.launch.signals import Signals
from cpnet.options import MetricsOptions
from cpnet.runs.checkpoint import provenance
from cpnet.runs.folder import METRICS
from cpnet.training import threads
from cpnet.training.callbacks.cost import CostMeter
from cpnet.training.callbacks.epoch_lines import EpochLines
from cpnet.training.callbacks.fewer_threads import FewerThreads
from cpnet.training.callbacks.metrics_csv import MetricsCSV
from cpnet.training.callbacks.recovery import Recovery
from cpnet.training.callbacks.resume import ExactResume
from cpnet.training.checkpoint_io import CheckpointFiles
from cpnet.training.compilation import Compilation
from cpnet.training.module import GroundingModule

STRATEGIES = ("auto", "ddp", "ddp_find_unused_parameters_true", "ddp_find_unused_parameters_false")
REFRESH_BATCHES = 10  # batches between updates of the progress bar, each of which waits for a GPU


def training_module(cfg: DictConfig, vocabulary: Vocabulary, **origin: Any) -> GroundingModule:
    """Build model, loss, metrics, optimiser and schedule, and the content of the run's checkpoints: see ``provenance``.

    Raises:
        ConfigError: a value is invalid
    """
    optimizer = cfg.optimizer.copy()
    if len(optimizer.get("betas", (0, 0))) != 2:
        raise ConfigError(f"optimizer.betas must be two numbers; got {optimizer.betas}")
    if optimizer.get("fused") and cfg.trainer.precision == "16-mixed":
        optimizer.fused = False  # a fused optimiser unscales the gradients after they were clipped
    model, loss = instantiate(cfg.model, word_vectors=vocabulary.vectors), instantiate(cfg.loss)
    with config_errors("metrics"):
        return GroundingModule(
            model=model,
            loss=loss,
            optimizer=factory(optimizer),
            scheduler=factory(cfg.scheduler),
            metrics=MetricsOptions(**containers(cfg.metrics)),
            provenance=provenance(cfg, vocabulary, **origin),
        )


def evaluation_module(cfg: DictConfig, model: nn.Module) -> GroundingModule:
    """Build the module that tests a trained model.

    Raises:
        ConfigError: a value of ``cfg.metrics`` is invalid
    """
    with config_errors("metrics"):
        return GroundingModule(model=model, metrics=MetricsOptions(**containers(cfg.metrics)))


def build_callbacks(nodes: DictConfig, *, folder: Path, signals: Signals, progress_bar: bool) -> list[Callback]:
    """Build the callbacks of ``cfg.callbacks`` and those of every run, in the order in which Lightning must call them.

    Args:
        nodes: the group ``callbacks``
        folder: output folder of the run
        signals: signals that interrupt the run
        progress_bar: show progress, as lines if stdout is not a terminal
    """
    configured = instantiate_all(nodes)
    recoveries = [callback for callback in configured if isinstance(callback, Recovery)]
    for recovery in recoveries:
        recovery.signals = signals
    others = [callback for callback in configured if not isinstance(callback, Recovery)]
    # best.ckpt is chosen first, then the row of metrics.csv is written, then last.ckpt, whose state includes both.
    callbacks = [*others, MetricsCSV(folder / METRICS), ExactResume(), *recoveries]
    return [*callbacks, EpochLines()] if progress_bar and not sys.stdout.isatty() else callbacks


def make_trainer(
    node: DictConfig,
    *,
    callbacks: Sequence[Callback],
    batch_size: int,
    loggers: Sequence[Logger] = (),
    **arguments: Any,
) -> Trainer:
    """Build the trainer of ``cfg.trainer``; add callbacks that measure cost, compile, show progress and adapt to load.

    ``batch_size`` is the number of pairs of a batch on each process.

    Raises:
        ConfigError: a value is invalid
    """
    _check(node)
    node = node.copy()
    with open_dict(node):
        compiling, cache = str(node.pop("compile")).lower(), Path(node.pop("compile_cache"))
        effective = node.pop("effective_batch_size", None)
    node.enable_progress_bar = node.get("enable_progress_bar", True) and sys.stdout.isatty()
    compilation = Compilation(compiling, cache=cache)
    added: list[Callback] = [CostMeter(), compilation]  # the cost of the model as it tests, which is not compiled
    if node.enable_progress_bar:
        added.append(TQDMProgressBar(refresh_rate=REFRESH_BATCHES))
    if not (node.get("deterministic") or threads.is_fixed()):
        added.append(FewerThreads(fixed=lambda: compilation.compiled))
    trainer: Trainer = instantiate(
        node,
        callbacks=[*callbacks, *added],
        logger=list(loggers) or False,
        plugins=[CheckpointFiles()],
        **arguments,
    )
    # Lightning's signal handlers can deadlock several processes, and write their own checkpoint under SLURM.
    trainer._signal_connector.register_signal_handlers = lambda: None  # type: ignore[method-assign]
    if effective is not None:
        trainer.accumulate_grad_batches = accumulation(node, effective, batch_size * trainer.world_size)
    return trainer


def accumulation(node: DictConfig, effective: int, together: int) -> int:
    """Return the number of batches per step for ``effective`` pairs, given the pairs of one batch on all processes.

    Raises:
        ConfigError: ``effective`` is not a multiple of ``together``, or the number of batches is configured as well
    """
    key = f"trainer.effective_batch_size={effective}"
    if node.accumulate_grad_batches != 1:
        raise ConfigError(
            f"{key} sets accumulate_grad_batches; remove trainer.accumulate_grad_batches={node.accumulate_grad_batches}"
        )
    if effective < 1 or effective % together:
        raise ConfigError(f"{key} must be a multiple of batch_size x processes = {together}")
    return effective // together


def _check(node: DictConfig) -> None:
    """Reject numbers below 1, and other strategies: forked processes lose the metrics, and the rest shard the model."""
    for key, name in (("max_epochs", "epochs"), ("accumulate_grad_batches", "trainer.accumulate_grad_batches")):
        if node[key] < 1:
            raise ConfigError(f"{name} must be 1 or more; got {node[key]}")
    if node.get("limit_test_batches") == 0:
        raise ConfigError("trainer.limit_test_batches=0 leaves nothing to measure at the end; remove it")
    if node.strategy not in STRATEGIES:
        raise ConfigError(f"trainer.strategy must be one of {', '.join(STRATEGIES)}; got {node.strategy}")
