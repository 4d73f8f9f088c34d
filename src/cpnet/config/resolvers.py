"""What the yaml files compute: ``${max:...}``, an experiment's name, a sweep's folder."""

from __future__ import annotations

from pathlib import Path

from omegaconf import OmegaConf

from cpnet.config.errors import ConfigError


def register_resolvers() -> None:
    """Let interpolations call these functions."""
    OmegaConf.register_new_resolver("max", max, replace=True)
    OmegaConf.register_new_resolver("experiment_name", experiment_name, replace=True)
    OmegaConf.register_new_resolver("sweep_folder", sweep_folder, replace=True, use_cache=True)


def experiment_name(experiment: str | None, size: str, otherwise: str | None = None) -> str | None:
    """Name an experiment as its results are called: its twins are experiments of their own.

    >>> experiment_name("table1_ablation", "small"), experiment_name(None, "full", "tacos")
    ('table1_ablation_small', 'tacos')
    """
    if not experiment:
        return otherwise
    return experiment if size == "full" else f"{experiment}_{size}"


def sweep_folder(root: str, now: str, resume: bool) -> str:
    """Choose the folder of a sweep: a new one, or the newest of those under ``root`` where the sweep goes on.

    Raises:
        ConfigError: there is none to go on with
    """
    if not resume:
        return f"{root}/{now}"
    folders = sorted(path for path in Path(root).glob("*") if (path / "multirun.yaml").is_file())
    if not folders:
        raise ConfigError(f"sweep.resume=true: there is no sweep in {root}; hydra.sweep.dir=FOLDER names another")
    return str(folders[-1])
