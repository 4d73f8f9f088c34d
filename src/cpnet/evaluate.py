"""``python -m cpnet.evaluate checkpoint=PATH [split=test] [overrides]``: measure a checkpoint again.

The checkpoint carries the run's configuration and its vocabulary; only the corpus's files must be there.
"""

from __future__ import annotations

import sys

from omegaconf import DictConfig

from cpnet import cli, processes


def main(cfg: DictConfig) -> None:
    """Check that the corpus is there, and measure."""
    cli.check_corpus(cfg, words_known=True)
    if not processes.share(cfg, "evaluate"):
        evaluate(cfg)


def evaluate(cfg: DictConfig) -> dict[str, float]:
    """Measure ``cfg.checkpoint`` on ``cfg.split``; return the metrics in per cent.

    Raises:
        ConfigError: an impossible value
        DataError: something is wrong with the checkpoint or the corpus
    """
    from pathlib import Path

    from pytorch_lightning import seed_everything

    from cpnet import results
    from cpnet.build import build_datamodule, build_module, check_strategy, load_weights, make_trainer, refusals
    from cpnet.checkpoint import load_checkpoint
    from cpnet.precision import choose_precision
    from cpnet.predictions import PredictionWriter
    from cpnet.speed import is_compiled, prepare_process

    folder = Path(cfg.output_dir)
    prepare_process()
    cfg.trainer.precision = choose_precision(cfg.trainer.precision, cfg.trainer.accelerator)
    check_strategy(cfg.trainer.strategy)
    with refusals("seed"):
        seed_everything(cfg.seed, workers=True, verbose=False)
    checkpoint = load_checkpoint(cfg.checkpoint)
    datamodule = build_datamodule(cfg, vocabulary=checkpoint.vocabulary, tested=cfg.split)
    datamodule.prepare_data()
    datamodule.setup()
    module = build_module(cfg, datamodule.vocabulary, training=False)
    load_weights(module, checkpoint)

    evaluated = datamodule.dataset(cfg.split).moments
    folder.mkdir(parents=True, exist_ok=True)
    writer = PredictionWriter(folder / "predictions.jsonl", evaluated)
    trainer = make_trainer(cfg, callbacks=[writer], logger=False, enable_checkpointing=False)
    stopwatch = results.Stopwatch()
    with stopwatch.time("test"):
        trainer.test(module, datamodule=datamodule, verbose=False)
    measured = results.collect(
        cfg,
        split=cfg.split,
        pairs=writer.written,
        logged=trainer.callback_metrics,
        train=datamodule.dataset("train").moments,
        evaluated=evaluated,
        model=module.model,
        compiled=is_compiled(trainer),
        stopwatch=stopwatch,
    )
    if trainer.is_global_zero:
        results.publish(measured, folder)
    return dict(measured["metrics"])


if __name__ == "__main__":
    cli.run(main, config_name="evaluate", prepare=lambda: cli.offer_checkpoint(sys.argv[1:]))
