"""OmegaConf resolvers: ``${max:...}``, experiments and their presets, folders of runs and sweeps, the environment."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import Any

import psutil
from omegaconf import OmegaConf
from omegaconf.resolvers import oc

from cpnet.errors import ConfigError

# Variables that a configuration may read. Others may be secrets, which would be saved in config.yaml.
READABLE = re.compile(
    r"(CPNET|SLURM|TORCHELASTIC)_\w+|CUDA_VISIBLE_DEVICES|OMP_NUM_THREADS|(LOCAL_|NODE_|GROUP_)?RANK|WORLD_SIZE"
    r"|HOME|TMPDIR|SCRATCH|USER"
)
SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL|JWT", re.IGNORECASE)
FOR_A_CORPUS = re.compile("_(activitynet|tacos)$")  # end of a preset's name


def register_resolvers() -> None:
    """Register the resolvers with OmegaConf."""
    OmegaConf.register_new_resolver("max", max, replace=True)
    OmegaConf.register_new_resolver("experiment_name", experiment_name, replace=True)
    OmegaConf.register_new_resolver("presets", presets, replace=True)
    OmegaConf.register_new_resolver("oc.env", environment, replace=True)
    OmegaConf.register_new_resolver("run_folder", run_folder, replace=True, use_cache=True)
    OmegaConf.register_new_resolver("sweep_folder", sweep_folder, replace=True, use_cache=True)


def experiment_name(experiment: str | None, size: str, otherwise: str | None = None) -> str | None:
    """Return the name that groups the results of an experiment. Each size is a separate experiment.

    >>> experiment_name("table1_ablation", "small"), experiment_name(None, "full", "tacos")
    ('table1_ablation_small', 'tacos')
    """
    if not experiment:
        return otherwise
    return experiment if size == "full" else f"{experiment}_{size}"


def presets(size: str, *models: str) -> str:
    """Return the values of a sweep over models: their small presets at each size but the full one.

    The presets of a model for single corpora share its small preset.

    >>> presets("small", "cpnet", "two_d_tan_tacos")
    'cpnet_small,two_d_tan_small'
    """
    return ",".join(models if size == "full" else (f"{FOR_A_CORPUS.sub('', model)}_small" for model in models))


def run_folder(now: str, resume: bool = False) -> str:
    """Return the name of a run's folder, the same in all processes that SLURM or torchrun starts or restarts.

    Without SLURM and torchrun it is the current time. A SLURM job of one process has a folder of its own with
    ``resume``, because it may be requeued.
    """
    if under_slurm() or (resume and os.environ.get("SLURM_JOB_ID") and not is_interactive()):
        step = os.environ.get("SLURM_STEP_ID", "0")
        return f"slurm_{os.environ['SLURM_JOB_ID']}{'' if step == '0' else f'.{step}'}"
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return now
    if int(os.environ.get("GROUP_WORLD_SIZE", 1)) > 1:  # several machines, with clocks that differ
        return f"torchrun_{os.environ['TORCHELASTIC_RUN_ID']}"
    started = psutil.Process(os.getppid()).create_time()  # of torchrun
    return time.strftime("%Y-%m-%d_%H-%M-%S", time.localtime(started))


def under_slurm() -> bool:
    """Return whether ``srun`` started several processes, by the same rule as Lightning."""
    return int(os.environ.get("SLURM_NTASKS", 1)) > 1 and not is_interactive()


def is_interactive() -> bool:
    """Return whether a shell within a SLURM job started this process."""
    return os.environ.get("SLURM_JOB_NAME") in ("bash", "interactive")


def sweep_folder(root: str, now: str, resume: bool) -> str:
    """Return the folder of a sweep: a new one, or the newest under ``root`` to resume.

    Raises:
        ConfigError: there is no sweep to resume
    """
    if not resume:
        return f"{root}/{now}"
    folders = sorted(path for path in Path(root).glob("*") if (path / "multirun.yaml").is_file())
    if not folders:
        raise ConfigError(f"sweep.resume=true: there is no sweep in {root}; set its folder: hydra.sweep.dir=FOLDER")
    return str(folders[-1])


def environment(name: str, *default: Any) -> Any:
    """Return the value of an environment variable, as ``oc.env`` does, unless it may be a secret.

    Raises:
        ConfigError: the variable may be a secret
    """
    if not READABLE.fullmatch(name) or SECRET.search(name):
        raise ConfigError(
            f"${{oc.env:{name}}}: a configuration may not read this variable, because it may be a secret"
            "\n  Allowed: CPNET_..., SLURM_..., TORCHELASTIC_..., HOME, USER, SCRATCH, TMPDIR. Rename it to CPNET_..."
        )
    return oc.env(name, *default)
