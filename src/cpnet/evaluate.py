"""``python -m cpnet.evaluate checkpoint=PATH [split=test] [overrides]``: measure a checkpoint.

The checkpoint contains the run's configuration and vocabulary. Annotations and features of the corpus are needed.
``dataset=NAME`` measures on another corpus.
"""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING

from omegaconf import DictConfig, OmegaConf

from cpnet.errors import ConfigError
from cpnet.launch import command, from_checkpoint, processes

if TYPE_CHECKING:
    from cpnet.runs.checkpoint import Checkpoint

log = logging.getLogger(__name__)


def main(cfg: DictConfig) -> None:
    """Check that the files of the corpus exist, then evaluate."""
    command.check_corpus(cfg, words_known=True)
    if not processes.run_in_processes(cfg, "evaluate"):
        evaluate(cfg)


def evaluate(cfg: DictConfig) -> dict[str, float]:
    """Measure ``cfg.checkpoint`` on ``cfg.split``; return the metrics in per cent.

    Raises:
        ConfigError: a value is invalid
        DataError: the checkpoint or the corpus is malformed
    """
    from pathlib import Path

    from cpnet.evaluation.protocol import Selection
    from cpnet.grounder import Grounder
    from cpnet.options import MetricsOptions
    from cpnet.runs import predictions
    from cpnet.runs.checkpoint import load_checkpoint
    from cpnet.training.build import make_trainer
    from cpnet.training.callbacks.predictions import PredictionWriter
    from cpnet.training.instantiate import config_errors, containers
    from cpnet.training.measure import measure
    from cpnet.training.module import GroundingModule
    from cpnet.training.run import prepare_run, read_data

    folder = Path(cfg.output_dir)
    prepare_run(cfg)
    checkpoint = load_checkpoint(cfg.checkpoint)
    other = is_other_corpus(cfg, checkpoint)
    datamodule = read_data(cfg, tested=cfg.split, vocabulary=checkpoint.vocabulary)
    if other:  # the paper has no such number, and the checkpoint was not chosen here
        cfg.dataset.paper, cfg.dataset.validation = {}, Selection.OTHER.value
    model = Grounder(checkpoint, config=cfg, vocabulary=datamodule.vocabulary).model
    with config_errors("metrics"):
        module = GroundingModule(model=model, metrics=MetricsOptions(**containers(cfg.metrics)))

    folder.mkdir(parents=True, exist_ok=True)
    writer = PredictionWriter(folder / predictions.FILE, datamodule.dataset(cfg.split).moments)
    trainer = make_trainer(cfg.trainer, callbacks=[writer], batch_size=cfg.batch_size, enable_checkpointing=False)
    results = measure(cfg, trainer, module, datamodule, writer)
    return dict(results.metrics)


def is_other_corpus(cfg: DictConfig, checkpoint: Checkpoint) -> bool:
    """Return whether the model was trained on another corpus, after checking that it fits this one.

    Raises:
        ConfigError: features or word vectors have another width
    """
    trained, measured = OmegaConf.create(checkpoint.config).dataset, cfg.dataset
    vectors = checkpoint.vocabulary.vectors.shape[1]
    for key, width, advice in (
        ("features", trained.features.dim, f"use the same backbone, or train with init_from={cfg.checkpoint}"),
        ("word_vectors", vectors, "set path and dim to such a file of vectors"),
    ):
        if measured[key].dim != width:
            wrong = f"dataset.{key}.dim={measured[key].dim}, but the model was trained on {trained.name}"
            raise ConfigError(f"{wrong} with {key} {width} wide; {advice}")
    if measured.features.normalise != trained.features.normalise:
        log.warning("the model was trained with dataset.features.normalise=%s", trained.features.normalise)
    if measured.name != trained.name:
        log.info("the model was trained on %s and is measured on %s", trained.name, measured.name)
    return bool(measured.name != trained.name)


if __name__ == "__main__":
    command.run(main, config_name="evaluate", prepare=lambda: from_checkpoint.store_checkpoint_config(sys.argv[1:]))
