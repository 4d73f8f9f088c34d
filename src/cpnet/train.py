"""``python -m cpnet.train [overrides]``: train a model, choose its best epoch, and evaluate it on the test split."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from omegaconf import DictConfig

from cpnet.launch import command, from_checkpoint, processes, sweep

log = logging.getLogger(__name__)


def main(cfg: DictConfig) -> float:
    """Check files and launcher, start several processes if configured, and train.

    Returns:
        the best validation score
    """
    command.check_corpus(cfg)
    sweep.check_launcher(cfg)
    if processes.run_in_processes(cfg, "train"):
        return sweep.read_score(Path(cfg.output_dir))
    return train(cfg)


def train(cfg: DictConfig) -> float:
    """Train in ``cfg.output_dir`` in this process, and return the best validation score.

    Raises:
        ConfigError: a value cannot work, or another run is writing to the folder
        DataError: the dataset or the checkpoint to resume from has an error
        SystemExit: a signal interrupted the training; last.ckpt has its state
    """
    from cpnet.launch import slurm
    from cpnet.launch.signals import Interrupted, Signals
    from cpnet.runs import folder as runs
    from cpnet.training.run import run_job

    folder = Path(cfg.output_dir)
    with Signals(*slurm.signals()) as signals, runs.locked_run(folder):
        try:
            return run_job(cfg, folder, signals)
        except Interrupted as interrupted:
            if not runs.is_first_process():
                # With any other code the launcher would kill rank 0, which may still be running.
                raise SystemExit(0 if interrupted.agreed else interrupted.code) from None
            slurm.requeue_if_asked(interrupted)
            if runs.newest(folder):
                log.info("interrupted; resume with: python -m cpnet.train resume_from=%s", folder)
            raise SystemExit(interrupted.code) from None


if __name__ == "__main__":
    command.run(
        main,
        config_name=from_checkpoint.train_config_name(sys.argv[1:]),
        prepare=lambda: from_checkpoint.store_run_config(sys.argv[1:]),
    )
