"""Requeue a SLURM job shortly before its time limit, after the run has written last.ckpt."""

from __future__ import annotations

import logging
import os
import re
import signal
import subprocess

from cpnet.launch.signals import Interrupted

log = logging.getLogger(__name__)

REQUEUE = signal.SIGUSR1  # sent by #SBATCH --signal=SIGUSR1@120


def signals() -> tuple[signal.Signals, ...]:
    """Return the signals that interrupt a run besides SIGTERM and SIGINT: SIGUSR1 in a SLURM job."""
    return (REQUEUE,) if job() else ()


def job() -> str | None:
    """Return the id of the SLURM job of this process: ARRAY_TASK for a task of an array; None outside of SLURM."""
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    name = f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID", "")
    return name if re.fullmatch(r"[0-9]+(_[0-9]+)?", name) else None


def requeue_if_asked(interrupted: Interrupted) -> None:
    """Requeue the job if SIGUSR1 interrupted it. The run is resumed if its command has ``resume=true``."""
    name = job()
    if interrupted.number != REQUEUE or name is None:
        return
    try:
        subprocess.run(["scontrol", "requeue", name], check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        reason = (getattr(error, "stderr", "") or str(error)).strip()
        log.error(
            "job %s could not be requeued (%s); requeue it by hand; resume=true then resumes the run", name, reason
        )
    else:
        log.info("requeued job %s", name)
