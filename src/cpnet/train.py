"""``python -m cpnet.train [overrides]``: train a model on a corpus, choose its best epoch, and measure it on test."""

from __future__ import annotations

from omegaconf import DictConfig

from cpnet import cli


def main(cfg: DictConfig) -> float:
    """Check that the corpus is there, which takes no time, before what takes seconds to import."""
    cli.check_corpus(cfg)
    return train(cfg)


def train(cfg: DictConfig) -> float:
    """Run one job in ``cfg.output_dir``; return the best validation mIoU, by which the checkpoint is chosen.

    Raises:
        ConfigError: an impossible value
        DataError: something is wrong with the corpus
    """
    from pathlib import Path

    from pytorch_lightning import seed_everything

    from cpnet import results, tracking
    from cpnet.build import build_datamodule, build_module, build_trainer, containers, refusals
    from cpnet.checkpoint import chosen, provenance
    from cpnet.precision import choose_precision
    from cpnet.predictions import PredictionWriter
    from cpnet.speed import is_compiled, prepare_process

    folder = Path(cfg.output_dir)
    prepare_process()
    cfg.trainer.precision = choose_precision(cfg.trainer.precision, cfg.trainer.accelerator)
    with refusals("seed"):
        seed_everything(cfg.seed, workers=True, verbose=False)
    datamodule = build_datamodule(cfg)
    datamodule.prepare_data()
    datamodule.setup()
    module = build_module(cfg, datamodule.vocabulary, provenance=provenance(cfg, datamodule.vocabulary))
    results.save_config(cfg, folder)

    test = datamodule.dataset("test").moments
    writer = PredictionWriter(folder / "predictions.jsonl", test)
    trainer = build_trainer(cfg, callbacks=[writer])
    stopwatch = results.Stopwatch()
    with tracking.job(trainer.loggers, containers(cfg)):
        with stopwatch.time("fit"):
            trainer.fit(module, datamodule=datamodule)
        best, validation = chosen(trainer)
        with stopwatch.time("test"):
            trainer.test(module, datamodule=datamodule, ckpt_path=str(best), verbose=False)
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


if __name__ == "__main__":
    cli.run(main, config_name="train")
