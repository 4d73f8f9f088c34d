"""Number of OpenMP threads, chosen before torch is imported. The user's setting wins."""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path

from cpnet.config.resolvers import under_slurm
from cpnet.workers import cpus, quota, text_of

log = logging.getLogger(__name__)

NUMBER = "OMP_NUM_THREADS"
CHOSEN = "CPNET_THREADS"  # our number and its reason; tells child processes that the number is not the user's
JOBS = "CPNET_JOBS"  # jobs that a sweep runs at a time


def choose(root: Path = Path("/")) -> None:
    """Set ``OMP_NUM_THREADS`` if torch's default, a thread per core, is too many. ``root`` has ``proc`` and ``sys``."""
    ours = os.environ.pop(CHOSEN, "").partition(" ")[0]
    if os.environ.get(NUMBER, ours) != ours:
        return
    os.environ.pop(NUMBER, None)
    cores = physical_cores(root)
    number, reason = share(cores, quota(root))
    if number < cores:
        os.environ |= {NUMBER: str(number), CHOSEN: f"{number} of {cores} cores: {reason}"}


def log_choice() -> None:
    """Log the number of threads if it is not torch's default."""
    if chosen := os.environ.get(CHOSEN):
        log.info("threads: %s; set %s to choose another number", chosen, NUMBER)


def is_fixed() -> bool:
    """Return whether the user has set the number of threads."""
    return NUMBER in os.environ and CHOSEN not in os.environ


def share(cores: int, quota: float) -> tuple[int, str]:
    """Return the number of threads for one of the run's processes on this machine, and what limits it."""
    available, reasons = float(cores), []
    tasks = number_in("SLURM_NTASKS_PER_NODE", number_in("SLURM_TASKS_PER_NODE", 1)) if under_slurm() else 1
    if tasks > 1:  # SLURM may or may not have restricted this task to its own cores
        on_node = number_in("SLURM_CPUS_ON_NODE", len(cpus())) * cores // len(cpus())  # it counts threads of cores
        available = min(available, on_node // tasks)
        reasons.append(f"{tasks} SLURM tasks")
    if quota < available:
        available = quota
        reasons.append(f"quota of {quota:.3g}")
    for name, what in ((JOBS, "jobs at a time"), ("LOCAL_WORLD_SIZE", "processes")):
        if (beside := number_in(name, 1)) > 1:
            available /= beside
            reasons.append(f"{beside} {what}")
    return max(1, int(available)), ", ".join(reasons)


def number_in(name: str, default: int) -> int:
    """Return the first number of an environment variable, such as 4 of SLURM's ``4(x2),1``."""
    found = re.match(r"[1-9][0-9]{0,6}", os.environ.get(name, ""))
    return int(found[0]) if found else default


def physical_cores(root: Path) -> int:
    """Count the cores that this process may use; torch has one thread for all CPUs of a core."""
    siblings = "sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"
    return len({text_of(root / siblings.format(cpu)) or f"only {cpu}" for cpu in cpus()})
