"""What the yaml files compute: ``${max:...}``, an experiment's name, folders of runs and sweeps, the environment."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import Any

import psutil
from omegaconf import OmegaConf
from omegaconf.resolvers import oc

from cpnet.config.errors import ConfigError

# What a configuration may read; all else could be a secret, which would then stand in config.yaml.
READABLE = re.compile(
    r"(CPNET|SLURM|TORCHELASTIC)_\w+|CUDA_VISIBLE_DEVICES|OMP_NUM_THREADS|(LOCAL_|NODE_|GROUP_)?RANK|WORLD_SIZE"
    r"|HOME|TMPDIR|SCRATCH|USER"
)
SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL|JWT", re.IGNORECASE)


def register_resolvers() -> None:
    """Let interpolations call these functions."""
    OmegaConf.register_new_resolver("max", max, replace=True)
    OmegaConf.register_new_resolver("experiment_name", experiment_name, replace=True)
    OmegaConf.register_new_resolver("oc.env", environment, replace=True)
    OmegaConf.register_new_resolver("run_folder", run_folder, replace=True, use_cache=True)
    OmegaConf.register_new_resolver("sweep_folder", sweep_folder, replace=True, use_cache=True)


def experiment_name(experiment: str | None, size: str, otherwise: str | None = None) -> str | None:
    """Name an experiment as its results are called: its twins are experiments of their own.

    >>> experiment_name("table1_ablation", "small"), experiment_name(None, "full", "tacos")
    ('table1_ablation_small', 'tacos')
    """
    if not experiment:
        return otherwise
    return experiment if size == "full" else f"{experiment}_{size}"


def run_folder(now: str) -> str:
    """Name the folder of a run alike in all processes that SLURM or torchrun starts for it, also when started again.

    A run of processes that it starts itself, or of one, is named by the time.
    """
    if under_slurm():
        step = os.environ.get("SLURM_STEP_ID", "0")
        return f"slurm_{os.environ['SLURM_JOB_ID']}{'' if step == '0' else f'.{step}'}"
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return now
    if int(os.environ.get("GROUP_WORLD_SIZE", 1)) > 1:  # machines, which have their own clocks
        return f"torchrun_{os.environ['TORCHELASTIC_RUN_ID']}"
    started = psutil.Process(os.getppid()).create_time()  # torchrun's own
    return time.strftime("%Y-%m-%d_%H-%M-%S", time.localtime(started))


def under_slurm() -> bool:
    """Whether this process is one of several that ``srun`` started, as Lightning takes it."""
    interactive = os.environ.get("SLURM_JOB_NAME") in ("bash", "interactive")
    return int(os.environ.get("SLURM_NTASKS", 1)) > 1 and not interactive


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


def environment(name: str, *default: Any) -> Any:
    """Give a variable of the environment, as ``oc.env`` does, if its name promises no secret.

    Raises:
        ConfigError: another name
    """
    if not READABLE.fullmatch(name) or SECRET.search(name):
        raise ConfigError(
            f"${{oc.env:{name}}}: a configuration may not read this variable, which could be a secret"
            "\n  Read are CPNET_..., SLURM_..., TORCHELASTIC_..., HOME, USER, SCRATCH, TMPDIR: call yours CPNET_..."
        )
    return oc.env(name, *default)
