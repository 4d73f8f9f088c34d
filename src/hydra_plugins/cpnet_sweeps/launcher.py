"""A Hydra launcher whose jobs are processes: whatever one of them does or breaks, the others do not notice.

Jobs in one process share W&B's run, process groups and every setting of torch; jobs that start processes of their own
(``trainer=ddp``) would start the whole sweep again in each.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from hydra.core.utils import JobReturn, JobStatus, configure_log
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from cpnet.config import ConfigError, quoted
from cpnet.config.resolvers import experiment_name
from cpnet.jobs import FinishedRuns, Job, JobsFailedError, command, job_names, note_jobs, reason, summary
from cpnet.locks import held

log = logging.getLogger(__name__)

INTERRUPTED = (128 + signal.SIGINT, 128 + signal.SIGTERM)  # how a job ends that has written its last.ckpt
TAIL_BYTES = 1 << 14  # of what a job complained about, among which its reason to fail is looked for


class ProcessLauncher(Launcher):
    """Runs each job as ``python -m cpnet.train`` in a folder of its own, some at a time.

    Args:
        n_jobs: how many at a time; with more than one, what a job prints goes only to ``output.log`` in its folder
    """

    def __init__(self, n_jobs: int) -> None:
        if n_jobs < 1:
            raise ConfigError(f"hydra.launcher.n_jobs must be 1 or more; got {n_jobs}")
        self.n_jobs = n_jobs
        self.config: DictConfig
        self.hydra_context: HydraContext
        self._running: set[subprocess.Popen[bytes]] = set()

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what a sweep is started with; see ``hydra.plugins.launcher.Launcher``."""
        self.config, self.hydra_context = config, hydra_context

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run the jobs, all of them also where some fail.

        Raises:
            ConfigError: another sweep holds the folder, or a single run's folder is named
        """
        if any(each.startswith("hydra.run.dir=") for each in self.config.hydra.overrides.hydra):
            raise ConfigError("hydra.run.dir is the folder of a single run; that of a sweep is hydra.sweep.dir=FOLDER")
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        sweep = Path(self.config.hydra.sweep.dir).absolute()
        jobs = [
            Job(initial_job_idx + i, list(overrides), name, sweep / str(initial_job_idx + i))
            for i, (overrides, name) in enumerate(zip(job_overrides, job_names(job_overrides), strict=True))
        ]
        with held(sweep, by="sweep", key="hydra.sweep.dir"):
            return self._launch(jobs, sweep)

    def _launch(self, jobs: Sequence[Job], sweep: Path) -> Sequence[JobReturn]:
        choices = self.config.hydra.runtime.choices
        note_jobs(sweep, jobs, experiment_name(choices.experiment, choices.size))
        waiting = [job for job in jobs if not self._is_done(job)]
        if self.config.sweep.reuse:  # only now are all folders where they stay
            finished = FinishedRuns(Path(self.config.sweep.reuse))
            waiting = [job for job in waiting if not self._is_reused(job, finished)]
        log.info(f"{len(waiting)} of {len(jobs)} jobs to run, {self.n_jobs} at a time: {sweep}")
        with self._ended_with_this_process(), ThreadPoolExecutor(self.n_jobs) as pool:
            list(pool.map(self._run, waiting))
        failed = [job for job in jobs if job.failure]
        return [self._returned(job, failed) for job in jobs]

    def _is_done(self, job: Job) -> bool:
        """Whether a sweep that goes on has the job's results; what lies in its place of another job is put aside."""
        known = self.config.sweep.resume and job.is_that_of_the_folder()
        if known and job.score() is not None:
            log.info(f"#{job.number} {job.name}: done already")
            return True
        if job.folder.exists() and not known:  # a known job goes on where it was broken off
            aside = job.folder.parent / "earlier" / f"{job.number}_{time.strftime('%Y-%m-%d_%H-%M-%S')}"
            aside.parent.mkdir(exist_ok=True)
            with held(job.folder, key="hydra.sweep.dir"):  # a job may go on whose sweep was killed
                job.folder.rename(aside)
        return False

    def _is_reused(self, job: Job, finished: FinishedRuns) -> bool:
        config = self.hydra_context.config_loader.load_sweep_config(self.config, job.overrides)
        choices = config.hydra.runtime.choices
        folder = finished.serve(job, config, experiment_name(choices.experiment, choices.size))
        if folder is not None:
            log.info(f"#{job.number} {job.name}: the run of {folder}")
        return folder is not None

    @contextmanager
    def _ended_with_this_process(self) -> Iterator[None]:
        """Pass on what ends this process; Ctrl-C reaches the jobs by itself."""

        def end(number: int, _: object) -> None:
            for process in self._running:
                process.send_signal(number)
            raise SystemExit(128 + number)

        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGTERM, end)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)

    def _run(self, job: Job) -> None:
        log.info(f"#{job.number} {job.name}")
        try:
            job.folder.mkdir(parents=True, exist_ok=True)
            with (job.folder / "output.log").open("ab", buffering=0) as output:
                code, said = self._run_process(job, output)
        except OSError as error:
            job.failure = f"{error.filename or job.folder}: {error.strerror}"
        else:
            if code == 0 and job.score() is not None:
                return
            stopped = f"interrupted by {signal.Signals(code - 128).name}" if code in INTERRUPTED else ""
            job.failure = stopped or reason(said) or f"exit code {code}"
        log.error(f"#{job.number} {job.name} failed: {job.failure}")

    def _run_process(self, job: Job, output: IO[bytes]) -> tuple[int, str]:
        """Give the exit code of a job, and the last of what it complained about."""
        environment = os.environ.copy()
        if self.n_jobs > 1:
            environment.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // self.n_jobs)))
        process = subprocess.Popen(
            self._command(job),
            stdout=None if self.n_jobs == 1 else output,
            stderr=subprocess.PIPE,
            env=environment,
        )
        self._running.add(process)
        tail = b""
        for chunk in _chunks(process):
            tail = (tail + chunk)[-TAIL_BYTES:]
            with suppress(OSError):  # a full disk, of which the job itself has more to say
                output.write(chunk)
            if self.n_jobs == 1:
                sys.stderr.write(chunk.decode(errors="replace"))
                sys.stderr.flush()
        code = process.wait()
        self._running.discard(process)
        return code, tail.decode(errors="replace")

    def _command(self, job: Job) -> list[str]:
        hydra = self.config.hydra
        overrides = [*job.overrides, f"run_name={quoted(job.name)}"]
        overrides += ["resume=true"] if self.config.sweep.resume else []
        return command(hydra, hydra.job.name, overrides, job.folder)

    def _returned(self, job: Job, failed: Sequence[Job]) -> JobReturn:
        returned = JobReturn(overrides=job.overrides, working_dir=str(job.folder), task_name=self.config.hydra.job.name)
        returned.status = JobStatus.FAILED if job.failure else JobStatus.COMPLETED
        returned.return_value = JobsFailedError(summary(failed)) if job.failure else job.score()
        return returned


def _chunks(process: subprocess.Popen[bytes]) -> Iterator[bytes]:
    """Read what a process complains about as it comes: a progress bar has no ends of lines."""
    assert process.stderr is not None
    with process.stderr as stream:
        while chunk := os.read(stream.fileno(), 1 << 16):
            yield chunk
