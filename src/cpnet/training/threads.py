"""Number of OpenMP threads, chosen before torch is imported, and how they wait for each other. The user's settings win.

Other systems than Linux, and another OpenMP than libgomp, keep torch's waiting.
"""

from __future__ import annotations

import ctypes
import logging
import math
import os
import re
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path, PurePosixPath

from cpnet.config.resolvers import under_slurm

log = logging.getLogger(__name__)

NUMBER = "OMP_NUM_THREADS"
CHOSEN = "CPNET_THREADS"  # our number and its reason; tells child processes that the number is not the user's
JOBS = "CPNET_JOBS"  # jobs that a sweep runs at a time
LOOK_SEC = 0.25  # a look at the load, while waiting threads spin
SLEEPING_SEC = 20.0  # they sleep after a look at contended cores, until the next look
CONTENDED = 0.3  # seconds per second that all threads together are ready to run and have no core


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


def share(cores: int, quota: float) -> tuple[int, str]:
    """Return the number of threads for one of the run's processes on this machine, and what limits it."""
    available, reasons = float(cores), []
    tasks = _number("SLURM_NTASKS_PER_NODE", _number("SLURM_TASKS_PER_NODE", 1)) if under_slurm() else 1
    if tasks > 1:  # SLURM may or may not have restricted this task to its own cores
        available = min(available, _number("SLURM_CPUS_ON_NODE", cores) // tasks)
        reasons.append(f"{tasks} SLURM tasks")
    if quota < available:
        available, reasons = quota, [*reasons, f"quota of {quota:.3g}"]
    for name, what in ((JOBS, "jobs at a time"), ("LOCAL_WORLD_SIZE", "processes")):
        if (beside := _number(name, 1)) > 1:
            available /= beside
            reasons.append(f"{beside} {what}")
    return max(1, int(available)), ", ".join(reasons)


def _number(name: str, default: int) -> int:
    """Return the first number of an environment variable, such as 4 of SLURM's ``4(x2),1``."""
    found = re.match(r"[1-9][0-9]{0,6}", os.environ.get(name, ""))
    return int(found[0]) if found else default


def cpus() -> set[int]:
    """Return the CPUs that this process may use."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


def physical_cores(root: Path) -> int:
    """Count the cores that this process may use; torch has one thread for all CPUs of a core."""
    siblings = "sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"
    return len({_text(root / siblings.format(cpu)) or f"only {cpu}" for cpu in cpus()})


def quota(root: Path) -> float:
    """Return the number of cores that the cgroup of this process and its parents allow; infinity without a limit."""
    quotas = [math.inf]
    for cgroup in cgroups(root):
        version_1 = [_text(cgroup / f"cpu.cfs_{name}_us") for name in ("quota", "period")]
        with suppress(ValueError, ZeroDivisionError):  # "max", or no file
            used, period = map(int, _text(cgroup / "cpu.max").split() or version_1)
            quotas += [used / period] if used > 0 else []
    return min(quotas)


def cgroups(root: Path) -> Iterator[Path]:
    """Yield the folders of this process's cgroup and its parents, in versions 1 and 2 of the interface."""
    rows = [line.split(":", 2) for line in _text(root / "proc/self/cgroup").splitlines() if line.count(":") > 1]
    paths = {name: path for _, controllers, path in rows for name in controllers.split(",")}  # version 2 has no name
    for line in _text(root / "proc/self/mountinfo").splitlines():
        mount, _, system = line.partition(" - ")
        start, place = (*mount.split(" "), *[""] * 5)[3:5]
        kind, options = system.split(" ")[0], system.split(" ")[-1].split(",")
        path = PurePosixPath(paths.get("" if kind == "cgroup2" else "cpu", "/"))
        if kind == "cgroup2" or (kind == "cgroup" and "cpu" in options):
            within = path.relative_to(start) if path.is_relative_to(start) else PurePosixPath()
            yield from (root / place.lstrip("/") / each for each in (within, *within.parents))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


@cache
def watch() -> None:
    """Log the number of threads, and let them sleep while they wait whenever other processes compete for the cores.

    By default a waiting thread spins for milliseconds before it sleeps: a sixth faster on free cores, up to 30 times
    slower where it keeps those from running for which it waits. Results are the same to the last bit.
    """
    import torch

    if chosen := os.environ.get(CHOSEN):
        log.info("threads: %s; set %s to choose another number", chosen, NUMBER)
    number = torch.get_num_threads()
    mapped = {line.split(maxsplit=5)[-1] for line in _text(Path("/proc/self/maps")).splitlines() if "/libgomp" in line}
    if mapped and number > 1 and not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
        libraries = [ctypes.CDLL(path) for path in sorted(mapped)]
        threading.Thread(target=_watch, args=(libraries, len(cpus()) - number + 2), daemon=True).start()


def _watch(libraries: Sequence[ctypes.CDLL], size: int) -> None:
    level, waited, now = logging.INFO, seconds_waited(), time.monotonic()
    while True:
        time.sleep(LOOK_SEC)
        before, began, waited, now = waited, now, seconds_waited(), time.monotonic()
        if waited - before < CONTENDED * (now - began):
            continue
        log.log(level, "threads: the cores are contended, so threads sleep while they wait")
        level = logging.DEBUG
        idle = start_idle_threads(libraries, size)
        time.sleep(SLEEPING_SEC)
        idle.set()
        waited, now = seconds_waited(), time.monotonic()


def start_idle_threads(libraries: Sequence[ctypes.CDLL], size: int) -> threading.Event:
    """Start threads that do nothing; return the event that ends them. With them, all threads sleep while they wait.

    While a process has more threads than CPUs, libgomp spins only 100 times before a thread sleeps, not 300,000 times
    (its manual, ``GOMP_SPINCOUNT``). No other setting of waiting can be changed once the library is loaded.
    """
    ended = threading.Event()

    def run() -> None:
        nothing = ctypes.CDLL(None).free  # of the null pointer
        for library in libraries:
            library.GOMP_parallel(nothing, None, size, 0)
        ended.wait()

    threading.Thread(target=run, daemon=True).start()
    return ended


def seconds_waited() -> float:
    """Return how long the threads of this process, together, were ready to run and had no core."""
    waited = 0
    for task in os.scandir("/proc/self/task"):  # the fastest way: a large machine has hundreds of threads
        with suppress(OSError, IndexError), open(f"{task.path}/schedstat", "rb", buffering=0) as file:  # noqa: PTH123
            waited += int(file.read().split()[1])
    return waited / 1e9
