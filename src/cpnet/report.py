"""``python -m cpnet.report [runs=FOLDER] [experiment=NAME]``: tables and pictures of finished runs.

A row is a variant with all its seeds. Runs of different protocols get separate tables; ``html=true`` adds their pairs.

``python -m cpnet.report checkpoint=PATH figures=true`` draws what a model does: predictions, attention, maps of pairs.
"""

from __future__ import annotations

import sys
from pathlib import Path

from omegaconf import DictConfig, ListConfig

from cpnet.config import as_text, given
from cpnet.errors import ConfigError
from cpnet.launch import command, from_checkpoint

OF_FIGURES = ("checkpoint", "against", "qid", "video", "references", "video_dir")  # ids and paths, of any characters


def main(cfg: DictConfig) -> None:
    """Check the keys, and report."""
    from cpnet.reporting.statistics import FEWEST

    if cfg.resamples < FEWEST:
        raise ConfigError(f"resamples must be at least {FEWEST}; got {cfg.resamples}")
    if cfg.keep and Path(cfg.keep).is_file():
        raise ConfigError(f"keep={cfg.keep} is a file; it must be a folder such as experiments/results")
    if cfg.baseline_from and cfg.experiment_name in (None, cfg.baseline_from):
        raise ConfigError(f"baseline_from={cfg.baseline_from} needs experiment=NAME of another experiment")
    if cfg.attention != "all" and (type(cfg.attention) is not int or cfg.attention < 0):
        raise ConfigError(f"attention must be a number of pairs, or all; got {cfg.attention}")
    report(cfg)


def report(cfg: DictConfig) -> None:
    """Read the runs, compare them, print the tables, and write documents and pictures into ``cfg.output_dir``.

    Raises:
        ConfigError: no row has the name of the baseline
        DataError: there is no usable run
    """
    from cpnet.inspection.attention import explore
    from cpnet.reporting.comparison import compare
    from cpnet.reporting.gather import gather
    from cpnet.reporting.publishing import publish

    roots = [Path(str(root)) for root in (cfg.runs if isinstance(cfg.runs, ListConfig) else [cfg.runs])]
    gathered = gather(roots, experiment=cfg.experiment_name, baseline_from=cfg.baseline_from)
    compared = compare(gathered, experiment=cfg.experiment_name, baseline=cfg.baseline, resamples=cfg.resamples)
    packs = explore(compared, cfg.attention) if cfg.html or cfg.attention else ()
    publish(compared, Path(cfg.output_dir), packs=packs, kept=Path(cfg.keep) if cfg.keep else None)


def figures(cfg: DictConfig) -> None:
    """Check the files of the corpus, and draw the figures of a checkpoint."""
    if not cfg.figures:
        raise ConfigError("figures=false draws nothing; to compare runs, leave out figures and checkpoint")
    command.check_corpus(cfg, words_known=True)
    from cpnet.inspection.draw import draw_figures

    draw_figures(cfg)


def choose_checkpoint() -> None:
    """Complete ``sys.argv`` by the best checkpoint of the newest run if none is given, and store its configuration."""
    if not given(sys.argv[1:], "checkpoint"):
        from cpnet.runs.folder import newest_best

        sys.argv[1:1] = as_text([f"checkpoint={newest_best(Path('outputs'))}"], OF_FIGURES)
    from_checkpoint.store_checkpoint_config(sys.argv[1:])


if __name__ == "__main__":
    if given(sys.argv[1:], "checkpoint") or given(sys.argv[1:], "figures"):
        sys.argv[1:] = as_text(sys.argv[1:], OF_FIGURES)
        command.run(figures, config_name="figures", prepare=choose_checkpoint)
    else:
        command.run(main, config_name="report", prepare=command.name_experiment)
