"""Measure a model through probes, which change its input, and write what the model uses."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from omegaconf import DictConfig
from pytorch_lightning import Trainer
from torch import Tensor

from cpnet.config.instantiate import containers
from cpnet.data.datamodule import GroundingDataModule
from cpnet.data.dataset import GroundingDataset
from cpnet.data.moment import Moment
from cpnet.data.probes import PROBES, Probe, choose_probes
from cpnet.data.times import times
from cpnet.errors import ConfigError
from cpnet.evaluation.functional import Floats
from cpnet.evaluation.trivial import Trivial, predict_constant
from cpnet.files import write_json
from cpnet.options import MetricsOptions
from cpnet.reporting.printing import print_sentences, print_table
from cpnet.reporting.probed import Probed
from cpnet.reporting.scored import scores_of
from cpnet.training.callbacks.cost import CostMeter
from cpnet.training.callbacks.predictions import PredictionWriter
from cpnet.training.epoch_means import gather
from cpnet.training.module import GroundingModule

FILE = "probes.json"

log = logging.getLogger(__name__)


def choose(cfg: DictConfig) -> list[str]:
    """Return the names of the probes of ``cfg.probe``, none if it is null; see ``choose_probes``."""
    return choose_probes(cfg.probe) if cfg.probe else []


def probe(
    cfg: DictConfig,
    names: Sequence[str],
    trainer: Trainer,
    module: GroundingModule,
    datamodule: GroundingDataModule,
    trivial: Mapping[str, Trivial],
    encode: Callable[[Sequence[str]], Tensor] | None = None,
) -> None:
    """Test a model again through each probe. The first process prints the table and writes ``probes.json``.

    Args:
        cfg: the configuration of the evaluation
        names: of ``PROBES``
        trainer: has just tested the module
        module: has the predictions of that test
        datamodule: its ``test_split`` is the tested one
        trivial: trivial predictors of the split, the floor
        encode: encodes sentences, for a model that does not read words

    Raises:
        ConfigError: the split has no true windows, or only a part of it was tested
    """
    split, options = datamodule.test_split, MetricsOptions(**containers(cfg.metrics))
    dataset, missed = datamodule.dataset(split), datamodule.missed()
    if not trivial:
        raise ConfigError(f"split={split}: its annotations have no true windows, so probes have nothing to score")
    if len(_ranked(module)) != len(dataset):
        raise ConfigError(
            "probe needs the predictions of all pairs; remove trainer.limit_test_batches or trainer=debug"
        )
    moments = [*dataset.moments, *missed]

    def score() -> dict[str, Floats]:
        ranked = _ranked(module)
        lost = np.zeros((len(missed), *ranked.shape[1:]))  # scores 0
        return scores_of(np.concatenate([ranked, lost]), moments, options)

    intact, scores, changed = score(), dict[str, dict[str, Floats]](), dict[str, int]()
    once = (PredictionWriter, CostMeter)  # for the intact input alone
    trainer.callbacks = [each for each in trainer.callbacks if not isinstance(each, once)]  # type: ignore[attr-defined]
    for number, name in enumerate(names, start=1):
        log.info("probe %d of %d: %s", number, len(names), name)
        changed[name] = _count_changes(dataset, PROBES[name], cfg.seed)
        seen = dataset.probed(PROBES[name], seed=cfg.seed)
        if encode:
            module.model.sentences = encode(seen.sentences())
        trainer.test(module, datamodule.evaluation_dataloader(split, probed=seen), verbose=False)
        scores[name] = score()
    if trainer.is_global_zero:
        found = Probed(
            intact=intact,
            probes=scores,
            constants=_score_constants(trivial, moments, options),
            changed=changed,
            missed=len(missed),
            blind=datamodule.loading.blind,
        )
        _print(found, split)
        write_json(Path(cfg.output_dir, FILE), {"split": split, "seed": cfg.seed, **found.as_json()})


def _print(found: Probed, split: str) -> None:
    hidden = "" if found.blind == "none" else f"{found.blind} hidden in training; "
    title = f"probes of {split}: {hidden}per cent of {found.pairs} pairs, drops with 95 % intervals"
    print_table(title, *found.table())
    print_sentences([f"{name}: {each}" for name, each in zip(found.probes, found.sentences(), strict=True)])


def _score_constants(
    trivial: Mapping[str, Trivial], moments: Sequence[Moment], options: MetricsOptions
) -> dict[str, dict[str, Floats]]:
    """Return the scores of trivial predictors by name, which have one prediction a pair."""
    options = replace(options, recall_at=[n for n in options.recall_at if n == 1])
    duration = times(moments)[1]
    return {name: scores_of(predict_constant(each.span, duration), moments, options) for name, each in trivial.items()}


def _ranked(module: GroundingModule) -> Floats:
    """Return the predictions of the last test in the order of the split. Shape: (pairs, N, 2) in seconds"""
    found = [each for each in gather(module.prediction) if each]
    indices, ranked, _ = (torch.cat(column) for column in zip(*found, strict=True))
    return np.asarray(ranked[indices.argsort()])


def _count_changes(dataset: GroundingDataset, probe: Probe, seed: int) -> int:
    """Return the number of pairs whose clips, query or video a probe changes."""
    if probe.clips:
        return len(dataset)
    before, after = (zip(*dataset.read(probes, seed=seed), strict=True) for probes in ((), (probe,)))
    return sum(own != seen for own, seen in zip(before, after, strict=True))
