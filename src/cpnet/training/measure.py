"""Test a module and collect its results: metrics, trivial predictors, protocol and environment."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping

from omegaconf import DictConfig
from pytorch_lightning import Trainer

from cpnet.config.instantiate import containers
from cpnet.data.datamodule import GroundingDataModule
from cpnet.data.times import times
from cpnet.evaluation.protocol import Protocol, Selection
from cpnet.evaluation.trivial import trivial_rows
from cpnet.options import MetricsOptions
from cpnet.reporting.terminal import print_results
from cpnet.runs import predictions
from cpnet.runs.environment import device_name, git_commit, package_versions
from cpnet.runs.pairs import read_pairs
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
    prepare: Callable[[str], object] = lambda split: None,
    validation: Validation | None = None,
) -> list[Results]:
    """Test a module on each split of ``datamodule.tested``. The first process writes and prints the results.

    The files of the first split are in the folder of ``writer.path``, those of each other split in a folder of its name
    below. ``results.json`` of the first is written last, so that it marks a finished run.

    Args:
        cfg: the run's configuration
        trainer: has ``writer`` and a ``CostMeter`` among its callbacks
        module: the trained module
        datamodule: trivial predictors are fitted on its training split
        writer: writes the predictions
        prepare: called with the name of each split before its test
        validation: how the checkpoint was chosen
    """
    folder = writer.path.parent
    found: list[Results] = []
    for split in reversed(datamodule.tested):
        prepare(split)
        datamodule.test_split = split
        place = folder if split == datamodule.tested[0] else folder / split
        place.mkdir(parents=True, exist_ok=True)
        writer.path = place / predictions.FILE
        writer.moments, writer.missed = datamodule.dataset(split).moments, datamodule.missed()
        found.insert(0, _measure(cfg, trainer, module, datamodule, writer, validation))
        if trainer.is_global_zero:
            found[0].write(place)
    if trainer.is_global_zero:
        print_results(*found)
        sys.stdout.write(f"outputs: {printable(str(folder))}\n")
    return found


def _measure(
    cfg: DictConfig,
    trainer: Trainer,
    module: GroundingModule,
    datamodule: GroundingDataModule,
    writer: PredictionWriter,
    validation: Validation | None,
) -> Results:
    """Test a module on ``datamodule.test_split``."""
    split = datamodule.test_split
    module.tested = "test" if split == datamodule.tested[0] else split
    module.missed = len(datamodule.missed())
    writer.training = datamodule.dataset("train").moments
    start = time.perf_counter()
    trainer.test(module, datamodule=datamodule, verbose=False)
    meter = next(each for each in trainer.callbacks if isinstance(each, CostMeter))  # type: ignore[attr-defined]
    seconds = meter.seconds | {"test": time.perf_counter() - start}
    # Presets and other models are compared with the paper's full model, ablations with their own rows.
    paper_model = cfg.model_name if cfg.model_name in cfg.dataset.paper else "cpnet"
    logged = {key: float(value) for key, value in trainer.callback_metrics.items()}
    prefix = f"{module.tested}/"
    metrics = {key.removeprefix(prefix): value for key, value in logged.items() if key.startswith(prefix)}
    train = times(datamodule.dataset("train").moments)
    tested = times([*datamodule.dataset(split).moments, *datamodule.missed()])
    options = MetricsOptions(**containers(cfg.metrics))
    missing = {name: len(moments) for name, moments in datamodule.missing.items() if moments}
    return Results(
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
        device=device_name(trainer.strategy.root_device),
        git_commit=git_commit(),
        forward=meter.forward,
        breakdown=read_pairs(writer.path).breakdown(options) if metrics and trainer.is_global_zero else {},
    )


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
