"""SLURM's signal by which a job is asked to make room: the run is saved and put into the queue again."""

from __future__ import annotations

import logging
import os
import re
import signal
import subprocess

from pytorch_lightning.utilities import rank_zero_only

from cpnet.interruption import Interrupted

log = logging.getLogger(__name__)

REQUEUE = signal.SIGUSR1  # as #SBATCH --signal=SIGUSR1@120 has it sent


def signals() -> tuple[signal.Signals, ...]:
    """Give what is listened to beside SIGTERM and SIGINT: SIGUSR1 in a SLURM job, nothing elsewhere."""
    return (REQUEUE,) if job() else ()


def job() -> str | None:
    """Name the SLURM job that this process is of, an array's by its task."""
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    name = f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID", "")
    return name if re.fullmatch(r"[0-9]+(_[0-9]+)?", name) else None


@rank_zero_only
def after(interruption: Interrupted) -> None:
    """Have the job queued again where it was asked to make room; the same command goes on with ``resume=true``."""
    name = job()
    if interruption.number != REQUEUE or name is None:
        return
    try:
        subprocess.run(["scontrol", "requeue", name], check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", "") or str(error)
        log.error("the job %s cannot be queued again (%s); queue it by hand: it goes on with resume=true", name, said)
    else:
        log.info("the job %s is in the queue again", name)
