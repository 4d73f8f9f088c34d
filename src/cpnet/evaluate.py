"""``python -m cpnet.evaluate checkpoint=PATH [split=test] [overrides]``: measure a checkpoint.

The checkpoint contains the run's configuration and vocabulary. Annotations and features of the corpus are needed.
``split=test`` measures all test splits of the corpus. ``dataset=NAME`` measures on another corpus. ``probe=all``
measures again with changed videos and queries. ``zero_shot=BACKBONE dataset=NAME`` measures without any training, on
rows of a backbone that also encodes sentences.
"""

from __future__ import annotations

import sys

from omegaconf import DictConfig

from cpnet.launch import command, from_checkpoint, processes


def main(cfg: DictConfig) -> None:
    """Check that the files of the corpus exist, then evaluate."""
    command.check_corpus(cfg, words_known=True)
    if not processes.run_in_processes(cfg, "evaluate"):
        evaluate(cfg)


def evaluate(cfg: DictConfig) -> dict[str, float]:
    """Measure ``cfg.checkpoint``, or ``cfg.zero_shot``, on ``cfg.split``; return its (first) metrics in per cent.

    Raises:
        ConfigError: a value is invalid
        DataError: the checkpoint or the corpus is malformed
    """
    from dataclasses import replace
    from functools import partial
    from pathlib import Path

    from cpnet.actions.probes import choose, probe
    from cpnet.data.extractor import check_extractor
    from cpnet.evaluation.protocol import Selection
    from cpnet.grounder import Grounder
    from cpnet.grounding import zero_shot
    from cpnet.runs import predictions
    from cpnet.runs.checkpoint import is_other_corpus, load_checkpoint
    from cpnet.training.build import evaluation_module, make_trainer
    from cpnet.training.callbacks.predictions import PredictionWriter
    from cpnet.training.measure import measure
    from cpnet.training.run import prepare_run, read_data
    from cpnet.video.backbones import load_backbone

    probes, encode = choose(cfg), None
    prepare_run(cfg)
    if cfg.zero_shot:
        backbone = zero_shot.joint(load_backbone(cfg.zero_shot, weights=cfg.weights))
        encode = partial(zero_shot.encode_sentences, backbone)
        checkpoint = zero_shot.empty_checkpoint(backbone, word_dim=cfg.dataset.word_vectors.dim)
    else:
        checkpoint = load_checkpoint(cfg.checkpoint)
    other = is_other_corpus(cfg, checkpoint)
    datamodule = read_data(cfg, tested=cfg.split, vocabulary=checkpoint.vocabulary)
    if cfg.zero_shot and datamodule.extractor:  # similarities do not depend on the rate
        checkpoint = replace(checkpoint, extractor=replace(backbone.extractor(), fps=datamodule.extractor.fps))
    check_extractor(checkpoint.extractor, datamodule.extractor, cfg.dataset.features.path)
    if other:  # the paper has no such number, and the checkpoint was not chosen here
        cfg.dataset.paper, cfg.dataset.validation = {}, Selection.OTHER.value
    model = Grounder(checkpoint, config=cfg, vocabulary=datamodule.vocabulary).model

    def prepare(split: str) -> None:
        if encode:
            model.sentences = encode(datamodule.dataset(split).sentences())

    module = evaluation_module(cfg, model)
    writer = PredictionWriter(Path(cfg.output_dir) / predictions.FILE)
    trainer = make_trainer(cfg.trainer, callbacks=[writer], batch_size=cfg.batch_size, enable_checkpointing=False)
    results = measure(cfg, trainer, module, datamodule, writer, prepare=prepare)[0]
    if probes:
        probe(cfg, probes, trainer, module, datamodule, results.trivial, encode)
    return dict(results.metrics)


if __name__ == "__main__":
    command.run(main, config_name="evaluate", prepare=lambda: from_checkpoint.store_checkpoint_config(sys.argv[1:]))
