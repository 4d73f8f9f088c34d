"""One training run: train, choose the best epoch, measure it on the test splits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lightning_fabric.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig
from pytorch_lightning import Trainer, seed_everything
from pytorch_lightning.callbacks import ModelCheckpoint, WeightAveraging

from cpnet import tracking
from cpnet.config.instantiate import config_errors, containers, instantiate_all
from cpnet.data.datamodule import GroundingDataModule, Loading
from cpnet.data.vocabulary import Vocabulary
from cpnet.errors import ConfigError, DataError
from cpnet.launch.signals import Signals
from cpnet.runs import folder as files
from cpnet.runs import predictions
from cpnet.runs.checkpoint import load_checkpoint
from cpnet.runs.results import Validation
from cpnet.training import threads
from cpnet.training.build import build_callbacks, make_trainer, training_module
from cpnet.training.build_data import build_datamodule
from cpnet.training.callbacks.predictions import PredictionWriter
from cpnet.training.compilation import prepare_process
from cpnet.training.initialise import initialise
from cpnet.training.measure import measure
from cpnet.training.module import NOT_FINITE, GroundingModule
from cpnet.training.precision import choose_precision


def run_job(cfg: DictConfig, folder: Path, signals: Signals) -> float:
    """Train in ``folder``, choose the best epoch and measure it on the test splits; return its validation score.

    Raises:
        ConfigError: a value cannot work
        DataError: the dataset has an error, or the run made no step
    """
    prepare_run(cfg)
    resumed = files.checkpoint_to_resume(folder, cfg) if cfg.resume else None
    source = load_checkpoint(cfg.init_from) if cfg.init_from and resumed is None else None
    if resumed is None:
        files.clear(folder)

    datamodule = read_data(cfg)
    if resumed and resumed.pairs not in (None, datamodule.pairs):
        raise DataError(
            "the pairs of train and val are others than when the run began; restore annotations and features, or train "
            f"a new run with these weights: python -m cpnet.train init_from={resumed.path}"
        )
    origin = {"extractor": datamodule.extractor, "longest_sec": datamodule.longest_sec, "pairs": datamodule.pairs}
    module = training_module(cfg, datamodule.vocabulary, **origin)
    if source:
        initialise(module, source, datamodule.vocabulary)
    writer = PredictionWriter(folder / predictions.FILE)
    progress_bar = cfg.trainer.enable_progress_bar
    callbacks = [writer, *build_callbacks(cfg.callbacks, folder=folder, signals=signals, progress_bar=progress_bar)]
    loggers = instantiate_all(cfg.logger)
    trainer = make_trainer(cfg.trainer, callbacks=callbacks, batch_size=cfg.batch_size, loggers=loggers)
    best = _best_checkpoint(trainer)
    files.clear(folder, results_only=True)
    files.save_config(cfg, folder)

    with tracking.job(trainer.loggers, containers(cfg)), signals.outlasting():
        with _monitor_errors():
            trainer.fit(module, datamodule=datamodule, ckpt_path=resumed.path if resumed else None, weights_only=True)
        if module.skipped and module.skipped == trainer.global_step:
            raise DataError(f"the gradients of all {module.skipped} steps were not finite\n  {NOT_FINITE}")
        validation = _load_best(module, best)
        results = measure(cfg, trainer, module, datamodule, writer, validation=validation)
        if trainer.is_global_zero:
            checkpoint = Path(best.best_model_path)
            tracking.log_results(trainer.loggers, *results, predictions=writer.path, checkpoint=checkpoint)
    return validation.score


def prepare_run(cfg: DictConfig) -> None:
    """Set up the process, choose the precision, and seed all random number generators.

    Raises:
        ConfigError: the precision or the seed is invalid
    """
    threads.log_choice()
    prepare_process()
    cfg.trainer.precision = choose_precision(cfg.trainer.precision, cfg.trainer.accelerator)
    with config_errors("seed"):
        seed_everything(cfg.seed, workers=True, verbose=False)


def read_data(cfg: DictConfig, *, tested: str = "test", vocabulary: Vocabulary | None = None) -> GroundingDataModule:
    """Build the DataModule and read the corpus; the vocabulary of a checkpoint is extended by new words."""
    options = {key: cfg[key] for key in ("batch_size", "seed", "evaluation_order")}
    loading = Loading(**options, blind=cfg.dataset.blind, tested=tested)
    datamodule = build_datamodule(cfg.dataset, cfg.sampling, loading, cfg.trainer.accelerator, vocabulary)
    datamodule.prepare_data()
    datamodule.setup()
    return datamodule


def _best_checkpoint(trainer: Trainer) -> ModelCheckpoint:
    """Return the callback that keeps the best checkpoint.

    Raises:
        ConfigError: no ModelCheckpoint with a monitor is configured, or it would not keep averaged weights
    """
    best = trainer.checkpoint_callback
    if not isinstance(best, ModelCheckpoint) or best.monitor is None:
        raise ConfigError(
            "callbacks.checkpoint must be a ModelCheckpoint with a monitor such as val/mIoU, to choose the tested epoch"
        )
    if best.save_weights_only and any(isinstance(each, WeightAveraging) for each in trainer.callbacks):  # type: ignore[attr-defined]
        raise ConfigError(
            "callbacks.checkpoint.save_weights_only=true would keep weights that are not averaged; remove it, or set "
            "callbacks.average=null"
        )
    return best


def _load_best(module: GroundingModule, best: ModelCheckpoint) -> Validation:
    """Load the weights of the best epoch and return how it was chosen.

    Raises:
        ConfigError: no epoch was validated
    """
    if best.best_model_score is None or best.monitor is None:
        raise ConfigError(
            "no epoch was validated, so none can be tested; check trainer.limit_val_batches and check_val_every_n_epoch"
        )
    checkpoint = load_checkpoint(best.best_model_path)
    module.load_state_dict(checkpoint.weights)
    return Validation(monitor=best.monitor, score=float(best.best_model_score), epoch=checkpoint.epoch)


@contextmanager
def _monitor_errors() -> Iterator[None]:
    """Convert Lightning's errors about monitored metrics.

    Raises:
        ConfigError: a monitored metric is never logged
    """
    try:
        yield
    except (MisconfigurationException, RuntimeError) as error:
        if isinstance(error, MisconfigurationException):
            raise ConfigError(f"callbacks: {error}") from error
        if str(error).startswith("Early stopping conditioned"):
            raise ConfigError(f"callbacks.early_stopping.monitor: {error}") from error
        raise
