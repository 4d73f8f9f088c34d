"""Test a module and collect its results: metrics, trivial predictors, protocol and environment."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping

from omegaconf import DictConfig
from pytorch_lightning import Trainer

from cpnet.config.instantiate import containers
from cpnet.data.datamodule import GroundingDataModule
from cpnet.data.times import times
from cpnet.evaluation.protocol import Protocol, Selection
from cpnet.evaluation.trivial import trivial_rows
from cpnet.options import MetricsOptions
from cpnet.reporting.terminal import print_results
from cpnet.runs.breakdown import break_down_predictions
from cpnet.runs.environment import device_name, git_commit, package_versions
from cpnet.runs.results import Results, Validation
from cpnet.terminal import printable
from cpnet.training.callbacks.cost import CostMeter
from cpnet.training.callbacks.predictions import PredictionWriter
from cpnet.training.compilation import Compilation
from cpnet.training.module import GroundingModule


def measure(
    cfg: DictConfig,
    trainer: Trainer,
    module: GroundingModule,
    datamodule: GroundingDataModule,
    writer: PredictionWriter,
    *,
    validation: Validation | None = None,
) -> Results:
    """Test a module on a split. The first process writes and prints the results.

    Args:
        cfg: the run's configuration
        trainer: has ``writer`` and a ``CostMeter`` among its callbacks
        module: the trained module
        datamodule: trivial predictors are fitted on its training split
        writer: writes the predictions
        validation: how the checkpoint was chosen
    """
    module.missed = len(datamodule.missed())
    writer.training = datamodule.dataset("train").moments
    start = time.perf_counter()
    trainer.test(module, datamodule=datamodule, verbose=False)
    meter = next(each for each in trainer.callbacks if isinstance(each, CostMeter))  # type: ignore[attr-defined]
    seconds = meter.seconds | {"test": time.perf_counter() - start}
    split = datamodule.loading.tested
    # Presets and other models are compared with the paper's full model, ablations with their own rows.
    paper_model = cfg.model_name if cfg.model_name in cfg.dataset.paper else "cpnet"
    logged = {key: float(value) for key, value in trainer.callback_metrics.items()}
    metrics = {key.removeprefix("test/"): value for key, value in logged.items() if key.startswith("test/")}
    train = times(datamodule.dataset("train").moments)
    tested = times([*datamodule.dataset(split).moments, *datamodule.missed()])
    options = MetricsOptions(**containers(cfg.metrics))
    missing = {name: len(moments) for name, moments in datamodule.missing.items() if moments}
    results = Results(
        experiment=cfg.get("experiment_name"),
        model=cfg.model_name,
        reversed=metrics.pop("reversed"),
        metrics=metrics,
        pairs=writer.written,
        validation=validation,
        trivial=trivial_rows(train, tested, metrics=options) if metrics else {},
        paper=dict(cfg.dataset.paper.get(paper_model, {})) if split == "test" and metrics else {},
        paper_model=paper_model,
        protocol=protocol(cfg, split, missing=missing),
        parameters=sum(each.numel() for each in module.parameters() if each.requires_grad),
        init_from=cfg.get("init_from"),
        seed=cfg.seed,
        precision=cfg.trainer.precision,
        compiled=any(each.compiled for each in trainer.callbacks if isinstance(each, Compilation)),  # type: ignore[attr-defined]
        seconds={stage: round(each, 2) for stage, each in seconds.items()},
        versions=package_versions(),
        device=device_name(),
        git_commit=git_commit(),
        forward=meter.forward,
        breakdown=break_down_predictions(writer.path, options) if metrics and trainer.is_global_zero else {},
    )
    if trainer.is_global_zero:
        folder = writer.path.parent
        results.write(folder)
        print_results(results)
        sys.stdout.write(f"outputs: {printable(str(folder))}\n")
    return results


def protocol(cfg: DictConfig, split: str, *, missing: Mapping[str, int]) -> Protocol:
    """Return the conditions of a measurement on a split. ``missing`` has the numbers of pairs without features."""
    dataset = cfg.dataset
    return Protocol(
        dataset=dataset.name,
        split=split,
        selection=Selection(dataset.validation),
        holdout_fraction=dataset.holdout_fraction,
        strict=cfg.metrics.strict,
        ground_truth=dataset.ground_truth,
        on_defect=dataset.on_defect,
        missing=missing,
        blind=dataset.blind,
        features=path if isinstance(path := dataset.features.path, str) else ", ".join(path),
        sampling=containers(cfg.sampling),
    )
