"""The jobs of a sweep: their names, folders, command lines, results and failures."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hydra.conf import HydraConf
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import filter_overrides
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from cpnet.config import quoted
from cpnet.errors import ConfigError
from cpnet.files import replacing

JOBS = "jobs.json"
PASSED_ON = ("hydra.searchpath", "hydra.verbose", "hydra/job_logging")  # Hydra's own overrides that a job gets
NOT_PART_OF_JOB = ("run_name=", "sweep.", "resume=")  # overrides that do not distinguish jobs


@dataclass
class Job:
    """A job of a sweep.

    Attributes:
        number: its position in the sweep
        overrides: its overrides, from the command line or the sweeper
        name: the overrides that differ between jobs
        folder: its output folder
        failure: why it failed, or None
    """

    number: int
    overrides: list[str]
    name: str
    folder: Path
    failure: str | None = None

    def score(self) -> float | None:
        """Return the validation score of its results, or None if it has not finished."""
        try:
            return read_score(self.folder)
        except (OSError, ValueError, LookupError, TypeError):
            return None

    def owns_folder(self) -> bool:
        """Return whether the run in its folder has the same overrides."""
        try:
            found = OmegaConf.load(self.folder / ".hydra" / "overrides.yaml")
        except Exception:  # missing or, after a crash, cut: OmegaConf raises errors of several libraries
            return False
        return sorted(_distinguishing(map(str, found))) == sorted(_distinguishing(self.overrides))


def read_score(folder: Path) -> float:
    """Read the validation score by which a run chose its checkpoint."""
    return float(json.loads((folder / "results.json").read_bytes())["validation"]["score"])


def write_jobs(sweep: Path, jobs: Sequence[Job], experiment: str | None) -> None:
    """Add jobs to jobs.json, so that a report can list missing jobs."""
    path = sweep / JOBS
    known: dict[str, str] = {}
    with suppress(OSError, ValueError, LookupError, TypeError):  # absent or damaged
        known |= json.loads(path.read_bytes())["jobs"]
    content = {"experiment": experiment, "jobs": known | {str(job.number): job.name for job in jobs}}
    with replacing(path) as stream:
        stream.write(f"{json.dumps(content, indent=2, ensure_ascii=False)}\n".encode())


def check_launcher(cfg: DictConfig) -> None:
    """Reject ``sweep.resume=true`` with a launcher other than ``processes``, which would repeat finished jobs.

    Raises:
        ConfigError: another launcher started this job
    """
    in_other_launcher = HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN
    if in_other_launcher and cfg.sweep.resume:
        raise ConfigError("sweep.resume=true needs hydra/launcher=processes")


def job_names(job_overrides: Sequence[Sequence[str]]) -> list[str]:
    """Name each job by the overrides that not all jobs share; the name is empty if there are none.

    >>> job_names([["dataset=tacos", "seed=0"], ["dataset=tacos", "seed=1"]])
    ['seed=0', 'seed=1']
    """
    common = set.intersection(*(set(overrides) for overrides in job_overrides)) if len(job_overrides) > 1 else set()
    return [" ".join(_distinguishing(each for each in overrides if each not in common)) for overrides in job_overrides]


def _distinguishing(overrides: Iterable[str]) -> list[str]:
    return list(filter_overrides([each for each in overrides if not each.lstrip("+~").startswith(NOT_PART_OF_JOB)]))


def command_line(hydra: HydraConf, command: str, overrides: Iterable[str], folder: Path) -> list[str]:
    """Return the command line of a single run.

    Args:
        hydra: Hydra's configuration of this process, which may name more configuration folders
        command: train or evaluate
        overrides: overrides of the run
        folder: its output folder
    """
    folders = [each.path for each in hydra.runtime.config_sources if each.provider == "command-line"]
    return [
        *(sys.executable, "-m", f"cpnet.{command}"),
        *(argument for each in folders for argument in ("--config-dir", each)),
        *(("--config-name", hydra.job.config_name) if hydra.job.config_name not in (None, command) else ()),
        *(each for each in overrides if not each.startswith("sweep.")),
        *("hydra.mode=RUN", f"hydra.run.dir={quoted(str(folder))}"),
        *(each for each in hydra.overrides.hydra if each.startswith(PASSED_ON)),
    ]


def summary(failed: Sequence[Job]) -> str:
    """List the failed jobs with folder and reason, and how to rerun them."""
    lines = [f"{len(failed)} of the sweep's jobs failed; the others finished:"]
    for job in failed:
        lines += [f"  #{job.number} {job.name}: {job.failure}", f"     {job.folder}"]
    return "\n".join([*lines, "Fix the errors and rerun with sweep.resume=true: only the failed jobs run again."])
