"""``python -m cpnet.train [overrides]``: train a model on a corpus, choose its best epoch, and measure it on test."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from omegaconf import DictConfig

from cpnet import cli, jobs, processes

log = logging.getLogger(__name__)


def main(cfg: DictConfig) -> float:
    """Check that the corpus is there, which takes no time, before what takes seconds to import."""
    cli.check_corpus(cfg)
    jobs.check_launcher(cfg)
    if cfg.replay:
        return replay(cfg)
    return jobs.stated_score(Path(cfg.output_dir)) if processes.share(cfg, "train") else train(cfg)


def train(cfg: DictConfig) -> float:
    """Run one job in ``cfg.output_dir``; return the best validation mIoU, by which the checkpoint is chosen.

    Raises:
        ConfigError: an impossible value, or another run holds the folder
        DataError: something is wrong with the corpus, or with the checkpoint to go on from
        Interrupted: a signal came; what was done is in last.ckpt
    """
    from cpnet import recovery
    from cpnet.interruption import Interrupted, Signals
    from cpnet.recovery import requeue
    from cpnet.run import run_job

    folder = Path(cfg.output_dir)
    with Signals(*requeue.signals()) as signals, recovery.claimed(folder):
        try:
            return run_job(cfg, folder, signals)
        except Interrupted as interruption:
            requeue.after(interruption)
            if recovery.is_first_process() and recovery.newest(folder):
                log.info("interrupted; python -m cpnet.train resume_from=%s goes on", folder)
            # At any other code of one process torchrun ends the first, which may not be done yet with what all end for.
            others_follow = interruption.agreed and not recovery.is_first_process()
            raise SystemExit(0 if others_follow else interruption.code) from None


def replay(cfg: DictConfig) -> float:
    """Look again at the batch that ``cfg.replay`` holds; return how many places of it are not finite."""
    from cpnet.replay import look_again

    return float(len(look_again(cfg, Path(cfg.replay))))


if __name__ == "__main__":
    cli.run(main, config_name=cli.name_of_config(sys.argv[1:]), prepare=lambda: cli.offer_run(sys.argv[1:]))
