"""The jobs of a sweep: what tells them apart, where they lie, whether they are done, and why they failed."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import filter_overrides
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from cpnet import __version__
from cpnet.commit import git_commit
from cpnet.config import ConfigError, quoted
from cpnet.data.atomic import replacing
from cpnet.locks import LOCK

JOBS = "jobs.json"
UNTELLING = ("hydra", "run_name", "sweep", "resume")  # keys that say nothing about what a run computes
NOT_SHARED = ("wandb", "tensorboard", "earlier", LOCK)  # what trackers wrote under the run's own name; who holds it
OURS = ("run_name=", "sweep.", "resume=")  # overrides that say nothing about a job


class JobsFailedError(ConfigError):
    """Some jobs of a sweep failed; the message names each with its folder and reason."""


@dataclass
class Job:
    """A job of a sweep.

    Attributes:
        number: its place in the sweep
        overrides: what the command line or the sweeper sets for it
        name: the overrides in which it differs from the others
        folder: its outputs
        failure: why it failed, None where it did not
    """

    number: int
    overrides: list[str]
    name: str
    folder: Path
    failure: str | None = None

    def score(self) -> float | None:
        """Give the score by which its checkpoint was chosen; None while it is not done."""
        try:
            return stated_score(self.folder)
        except (OSError, ValueError, LookupError, TypeError):
            return None

    def is_that_of_the_folder(self) -> bool:
        """Whether the folder holds a run of the same overrides."""
        try:
            known = OmegaConf.load(self.folder / ".hydra" / "overrides.yaml")
        except OSError:
            return False
        return sorted(_telling(map(str, known))) == sorted(_telling(self.overrides))


def note_jobs(sweep: Path, jobs: Sequence[Job], experiment: str | None) -> None:
    """Note in jobs.json what a sweep is to run, beside what it was to run before, so that a report can miss it."""
    path = sweep / JOBS
    known: dict[str, str] = {}
    with suppress(OSError, ValueError, LookupError, TypeError):  # there is none, or it is damaged
        known |= json.loads(path.read_bytes())["jobs"]
    content = {"experiment": experiment, "jobs": known | {str(job.number): job.name for job in jobs}}
    with replacing(path) as stream:
        stream.write(f"{json.dumps(content, indent=2, ensure_ascii=False)}\n".encode())


def check_launcher(cfg: DictConfig) -> None:
    """Refuse what only our own launcher does, within a job of another: it would be trained again over what is there.

    Raises:
        ConfigError: the sweep is to go on, or to reuse runs
    """
    of_another = HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN
    if of_another and (cfg.sweep.resume or cfg.sweep.reuse):
        raise ConfigError("sweep.resume and sweep.reuse are of hydra/launcher=processes; leave them out, or take it")


class FinishedRuns:
    """Runs that are done, made by the code of this commit without changes, by configuration and data.

    Runs of another working directory are none of them: relative paths lead to other files from there.

    Args:
        root: the folder that they lie below

    Raises:
        ConfigError: there is no such folder
    """

    def __init__(self, root: Path) -> None:
        if not root.is_dir():
            raise ConfigError(f"sweep.reuse={root}: there is no such folder; it is where earlier sweeps lie")
        commit = git_commit(Path(__file__).parent)
        self.folders: dict[str, Path] = {}
        for path in sorted(root.rglob("composed.yaml")) if commit and "+" not in commit else ():
            if _is_of_commit(commit, path.parent) and (key := _computed(path)):
                self.folders[key] = path.parent

    def serve(self, job: Job, config: DictConfig, experiment: str | None) -> Path | None:
        """Give a job the files of the run that it would be; return that run's folder, None without one.

        Checkpoints are links, as they are only ever replaced; what a run may append to is copied.

        Args:
            job: a job that has no folder yet
            config: the job's configuration, interpolations unresolved
            experiment: the sweep's, under which the results are to be found
        """
        folder = None if job.folder.exists() else self.folders.get(computation(config))
        if folder is None:
            return None
        fresh = job.folder.with_name(f"{job.folder.name}.{os.getpid()}.tmp")
        try:
            shutil.copytree(folder, fresh, copy_function=_link_or_copy, ignore=shutil.ignore_patterns(*NOT_SHARED))
            results = json.loads((folder / "results.json").read_bytes())
            results |= {"experiment": experiment, "run_of": str(folder)}
            for path, content in (
                (fresh / "results.json", json.dumps(results, indent=2, ensure_ascii=False)),
                (fresh / ".hydra" / "overrides.yaml", OmegaConf.to_yaml(job.overrides)),
            ):
                path.write_text(f"{content.rstrip()}\n", encoding="utf-8")
            fresh.rename(job.folder)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
        return folder


def computation(config: DictConfig) -> str:
    """Write down what a run computes: its configuration, but for what says nothing about that, and where data lie."""
    plain = OmegaConf.to_container(config, resolve=False)
    assert isinstance(plain, dict)
    kept = {str(key): value for key, value in plain.items() if key not in UNTELLING}
    kept["resolved"] = OmegaConf.to_container(config.dataset, resolve=True) if "dataset" in config else None
    return OmegaConf.to_yaml(kept | {"cwd": str(Path.cwd())}, sort_keys=True)


def note_computation(computed: str, folder: Path) -> None:
    """Write it into a folder, for ``sweep.reuse``; the run must hold it, and have withdrawn what results are there."""
    with replacing(folder / "composed.yaml") as stream:
        stream.write(computed.encode())


def _computed(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None


def _link_or_copy(source: str, target: str) -> None:
    if source.endswith(".ckpt"):
        with suppress(OSError):  # another file system
            os.link(source, target)
            return
    shutil.copy2(source, target)


def _is_of_commit(commit: str | None, folder: Path) -> bool:
    try:
        results = json.loads((folder / "results.json").read_bytes())
        stated = results["git_commit"], results["versions"]["cpnet-grounding"]
    except (OSError, ValueError, LookupError, TypeError):
        return False
    return stated == (commit, __version__)


def job_names(job_overrides: Sequence[Sequence[str]]) -> list[str]:
    """Name each job by the overrides that not all of them have, all by their number of one where none differs.

    >>> job_names([["dataset=tacos", "seed=0"], ["dataset=tacos", "seed=1"]])
    ['seed=0', 'seed=1']
    """
    common = set.intersection(*(set(overrides) for overrides in job_overrides)) if len(job_overrides) > 1 else set()
    return [" ".join(_telling(each for each in overrides if each not in common)) for overrides in job_overrides]


def _telling(overrides: Iterable[str]) -> list[str]:
    return list(filter_overrides([each for each in overrides if not each.lstrip("+~").startswith(OURS)]))


def stated_score(folder: Path) -> float:
    """Read the score by which a run's checkpoint was chosen."""
    return float(json.loads((folder / "results.json").read_bytes())["validation"]["score"])


def command(hydra: DictConfig, name: str, overrides: Iterable[str], folder: Path) -> list[str]:
    """Write the command line of a run of its own in a folder, given what Hydra was started with."""
    folders = [each.path for each in hydra.runtime.config_sources if each.provider == "command-line"]
    return [
        *(sys.executable, "-m", f"cpnet.{name}"),
        *(argument for each in folders for argument in ("--config-dir", each)),
        *(each for each in overrides if not each.startswith("sweep.")),
        *("hydra.mode=RUN", f"hydra.run.dir={quoted(str(folder))}"),
        *(each for each in hydra.overrides.hydra if each.startswith("hydra.searchpath")),
    ]


def reason(complaints: str) -> str:
    """Find what a job said last: our own message, or the last line of a traceback; empty where it said nothing."""
    lines = [line.strip() for line in complaints.replace("\r", "\n").splitlines() if line.strip()]
    lines = [line for line in lines if not line.startswith("wandb: ")]  # how to look at a run, at its end
    ours = [line for line in lines if line.startswith("cpnet: ")]
    return ours[-1].removeprefix("cpnet: ") if ours else next(reversed(lines), "")


def summary(failed: Sequence[Job]) -> str:
    """Say which jobs failed, where they lie, and what to do."""
    lines = [f"{len(failed)} of the sweep's jobs failed, the others are done:"]
    for job in failed:
        lines += [f"  #{job.number} {job.name}: {job.failure}", f"     {job.folder}"]
    return "\n".join([*lines, "once mended, the same command with sweep.resume=true runs these alone"])
