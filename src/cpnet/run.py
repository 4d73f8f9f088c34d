"""One job: from a corpus to a trained model and its results."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lightning_fabric.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig
from pytorch_lightning import seed_everything

from cpnet import recovery, results, tracking
from cpnet.build import build_datamodule, build_module, build_trainer, containers, refusals
from cpnet.checkpoint import chosen, provenance
from cpnet.config import ConfigError
from cpnet.interruption import Signals
from cpnet.jobs import computation, note_computation
from cpnet.precision import choose_precision
from cpnet.predictions import PredictionWriter
from cpnet.speed import is_compiled, prepare_process


def run_job(cfg: DictConfig, folder: Path, signals: Signals) -> float:
    """Train, choose the best epoch, measure it on test; return the score by which it was chosen.

    Args:
        cfg: the configuration
        folder: for everything that is written
        signals: what may end the job
    """
    prepare_process()
    computed = computation(cfg)  # before the precision is chosen
    cfg.trainer.precision = choose_precision(cfg.trainer.precision, cfg.trainer.accelerator)
    resumed = recovery.checkpoint_to_go_on_from(folder, cfg) if cfg.resume else None
    if resumed is None:
        recovery.begin(folder)
    with refusals("seed"):
        seed_everything(cfg.seed, workers=True, verbose=False)
    datamodule = build_datamodule(cfg)
    datamodule.prepare_data()
    datamodule.setup()
    module = build_module(cfg, datamodule.vocabulary, provenance=provenance(cfg, datamodule.vocabulary))
    test = datamodule.dataset("test").moments
    writer = PredictionWriter(folder / "predictions.jsonl", test)
    trainer = build_trainer(cfg, callbacks=[writer], signals=signals)
    recovery.withdraw(folder)
    results.save_config(cfg, folder)
    if recovery.is_first_process():
        note_computation(computed, folder)
    stopwatch = results.Stopwatch()
    with tracking.job(trainer.loggers, containers(cfg)), signals.outlasting():
        with stopwatch.time("fit"), _monitors():
            trainer.fit(module, datamodule=datamodule, ckpt_path=resumed, weights_only=True)
        stopwatch.add("fit", recovery.seconds_before(trainer))
        best, validation = chosen(trainer)
        with stopwatch.time("test"):
            trainer.test(module, datamodule=datamodule, ckpt_path=str(best), weights_only=True, verbose=False)
        if trainer.is_global_zero:
            measured = results.collect(
                cfg,
                split="test",
                pairs=writer.written,
                logged=trainer.callback_metrics,
                train=datamodule.dataset("train").moments,
                evaluated=test,
                model=module.model,
                compiled=is_compiled(trainer),
                stopwatch=stopwatch,
                validation=validation,
            )
            results.publish(measured, folder)
            tracking.log_results(trainer.loggers, measured, predictions=writer.path, checkpoint=best)
    return float(validation["score"])


@contextmanager
def _monitors() -> Iterator[None]:
    """Say that a callback watches what nothing logs, which only the first validation can tell.

    Raises:
        ConfigError: one does
    """
    try:
        yield
    except RuntimeError as error:  # Lightning's, whose MisconfigurationException is none
        if not str(error).startswith("Early stopping conditioned"):
            raise
        raise ConfigError(f"callbacks.early_stopping.monitor: {error}") from error
    except MisconfigurationException as error:
        raise ConfigError(f"callbacks: {error}") from error
