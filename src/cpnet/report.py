"""``python -m cpnet.report [runs=FOLDER] [experiment=NAME]``: tables and pictures of runs.

Runs of one variant are a row over their seeds; runs of different protocols stand in different tables.
"""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig, ListConfig

from cpnet import cli
from cpnet.config import ConfigError

FEWEST = 100  # resamples, below which an interval's ends are those of single draws


def main(cfg: DictConfig) -> None:
    """Check what can be checked at once, and report."""
    if cfg.resamples < FEWEST:
        raise ConfigError(f"resamples must be at least {FEWEST}; got {cfg.resamples}")
    if cfg.keep and Path(cfg.keep).is_file():
        raise ConfigError(f"keep={cfg.keep} is a file; it must be a folder such as experiments/results")
    report(cfg)


def report(cfg: DictConfig) -> None:
    """Read the runs, compare them, print the tables, and write documents and pictures into ``cfg.output_dir``.

    Raises:
        ConfigError: no row is named as the baseline
        DataError: there is no run that can be used
    """
    from cpnet import progress
    from cpnet.reporting.comparison import compare
    from cpnet.reporting.publishing import publish
    from cpnet.reporting.runs import gather

    roots = list(cfg.runs) if isinstance(cfg.runs, ListConfig) else [cfg.runs]
    gathered = gather([Path(str(root)) for root in roots], experiment=cfg.experiment_name, progress=progress.track)
    compared = compare(gathered, experiment=cfg.experiment_name, baseline=cfg.baseline, resamples=cfg.resamples)
    publish(compared, Path(cfg.output_dir), kept=Path(cfg.keep) if cfg.keep else None)


if __name__ == "__main__":
    cli.run(main, config_name="report", prepare=cli.name_experiment)
