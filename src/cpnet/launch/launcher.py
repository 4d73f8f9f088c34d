"""Run each sweep job in its own process, so that one crash cannot affect the others.

Jobs in one process would share the W&B run, process groups and all settings of torch.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from hydra.core.utils import JobReturn, JobStatus, configure_log
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from cpnet.config import quoted
from cpnet.config.resolvers import experiment_name
from cpnet.errors import ConfigError
from cpnet.launch.processes import ERROR_FILE, exit_reason, reported_failure
from cpnet.launch.sweep import Job, command_line, job_names, summary, write_jobs
from cpnet.locks import locked
from cpnet.training.threads import JOBS

log = logging.getLogger(__name__)

INTERRUPTED = (128 + signal.SIGINT, 128 + signal.SIGTERM)  # exit codes of a job that wrote its last.ckpt


class ProcessLauncher(Launcher):
    """Runs each job as ``python -m cpnet.train`` in its own folder.

    Args:
        n_jobs: number of jobs at a time; above 1, each job prints to ``output.log`` in its folder
    """

    def __init__(self, n_jobs: int) -> None:
        if n_jobs < 1:
            raise ConfigError(f"hydra.launcher.n_jobs must be 1 or more; got {n_jobs}")
        self.n_jobs = n_jobs
        self.config: DictConfig
        self._running: set[subprocess.Popen[bytes]] = set()

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Store the configuration of the sweep; see ``hydra.plugins.launcher.Launcher``."""
        self.config = config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run all jobs, even if some fail.

        Raises:
            ConfigError: another sweep is writing to the folder, the sweep to resume is another one, or
                ``hydra.run.dir`` is set
        """
        if any(each.startswith("hydra.run.dir=") for each in self.config.hydra.overrides.hydra):
            raise ConfigError("hydra.run.dir is for a single run; set hydra.sweep.dir=FOLDER for a sweep")
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        sweep = Path(self.config.hydra.sweep.dir).absolute()
        jobs = [
            Job(number, list(overrides), name, sweep / str(number))
            for number, (overrides, name) in enumerate(
                zip(job_overrides, job_names(job_overrides), strict=True), start=initial_job_idx
            )
        ]
        with locked(sweep, by="sweep", key="hydra.sweep.dir"):
            found = [job for job in jobs if (job.folder / ".hydra").is_dir()]
            if self.config.sweep.resume and found and not any(job.owns_folder() for job in found):
                raise ConfigError(f"sweep.resume=true: {sweep} has jobs of another sweep; set hydra.sweep.dir=FOLDER")
            choices = self.config.hydra.runtime.choices
            write_jobs(sweep, jobs, experiment_name(choices.experiment, choices.size))
            waiting = [job for job in jobs if not self._is_done(job)]
            log.info(f"{len(waiting)} of {len(jobs)} jobs to run, {self.n_jobs} at a time: {sweep}")
            before = signal.signal(signal.SIGTERM, self._terminate)
            try:
                with ThreadPoolExecutor(self.n_jobs) as pool:
                    list(pool.map(self._run, waiting))
            finally:
                signal.signal(signal.SIGTERM, before)
        failed = [job for job in jobs if job.failure]
        return [self._returned(job, failed) for job in jobs]

    def _is_done(self, job: Job) -> bool:
        """Return whether a resumed sweep has the job's results. Move aside a folder that the job does not resume."""
        resumed = self.config.sweep.resume and job.owns_folder()
        if resumed and job.score() is not None:
            log.info(f"#{job.number} {job.name}: already done")
            return True
        if job.folder.exists() and not resumed:
            aside = job.folder.parent / "earlier" / f"{job.number}_{time.strftime('%Y-%m-%d_%H-%M-%S')}"
            aside.parent.mkdir(exist_ok=True)
            with locked(job.folder, key="hydra.sweep.dir"):  # a job can outlive its killed sweep
                job.folder.rename(aside)
        return False

    def _terminate(self, number: int, _: object) -> None:
        """Forward SIGTERM to the jobs. The terminal sends them SIGINT itself."""
        for process in self._running:
            process.send_signal(number)
        raise SystemExit(128 + number)

    def _run(self, job: Job) -> None:
        log.info(f"#{job.number} {job.name}")
        try:
            job.folder.mkdir(parents=True, exist_ok=True)
            job.failure = self._run_process(job)
        except OSError as error:
            job.failure = f"{error.filename or job.folder}: {error.strerror}"
        if job.failure:
            log.error(f"#{job.number} {job.name} failed: {job.failure}")

    def _run_process(self, job: Job) -> str | None:
        """Return why a job failed, or None."""
        log_path = job.folder / "output.log" if self.n_jobs > 1 else Path(os.devnull)
        with tempfile.TemporaryDirectory() as place, log_path.open("ab") as log_file:
            report = Path(place) / "error.json"
            environment = os.environ | {ERROR_FILE: str(report), JOBS: str(self.n_jobs)}
            overrides = [*job.overrides, f"run_name={quoted(job.name)}"]
            overrides += ["resume=true"] if self.config.sweep.resume else []
            line = command_line(self.config.hydra, "train", overrides, job.folder)
            output = log_file if self.n_jobs > 1 else None
            process = subprocess.Popen(line, stdout=output, stderr=output, env=environment)
            self._running.add(process)
            code = process.wait()
            self._running.discard(process)
            if code == 0 and job.score() is not None:
                return None
            if code in INTERRUPTED:
                return f"interrupted by {signal.Signals(code - 128).name}"
            return reported_failure(report)[0] or exit_reason(code)

    def _returned(self, job: Job, failed: Sequence[Job]) -> JobReturn:
        returned = JobReturn(overrides=job.overrides, working_dir=str(job.folder), task_name=self.config.hydra.job.name)
        returned.status = JobStatus.FAILED if job.failure else JobStatus.COMPLETED
        returned.return_value = ConfigError(summary(failed)) if job.failure else job.score()
        return returned
