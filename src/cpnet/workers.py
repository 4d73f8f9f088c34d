"""Limits of CPUs and memory of a process, and the shutdown of worker pools."""

from __future__ import annotations

import math
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing import parent_process
from pathlib import Path, PurePosixPath

import psutil


def cpus() -> set[int]:
    """Return the CPUs that this process may use."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


def cores() -> int:
    """Return the number of processes that compute at once: one for each CPU, within the quota of the container."""
    return max(1, int(min(len(cpus()), quota(Path("/")))))


def quota(root: Path) -> float:
    """Return the number of cores that the cgroup of this process and its parents allow; infinity without a limit."""
    quotas = [math.inf]
    for cgroup in cgroups(root):
        version_1 = [text_of(cgroup / f"cpu.cfs_{name}_us") for name in ("quota", "period")]
        with suppress(ValueError, ZeroDivisionError):  # "max", or no file
            used, period = map(int, text_of(cgroup / "cpu.max").split() or version_1)
            quotas += [used / period] if used > 0 else []
    return min(quotas)


def free_memory(root: Path = Path("/")) -> int:
    """Return the free memory in bytes, within the limits of this process's cgroup and its parents (version 2)."""
    free = psutil.virtual_memory().available
    for cgroup in cgroups(root):
        with suppress(ValueError, KeyError):  # "max", or no file
            used = dict(line.split() for line in text_of(cgroup / "memory.stat").splitlines())
            cached = int(used["inactive_file"]) + int(used["active_file"])
            left = int(text_of(cgroup / "memory.max")) - int(text_of(cgroup / "memory.current")) + cached
            free = min(free, max(0, left))
    return int(free)


def cgroups(root: Path) -> Iterator[Path]:
    """Yield the folders of this process's cgroup and its parents, in versions 1 and 2 of the interface."""
    rows = [line.split(":", 2) for line in text_of(root / "proc/self/cgroup").splitlines() if line.count(":") > 1]
    paths = {name: path for _, controllers, path in rows for name in controllers.split(",")}  # version 2 has no name
    for line in text_of(root / "proc/self/mountinfo").splitlines():
        mount, _, system = line.partition(" - ")
        start, place = (*mount.split(" "), *[""] * 5)[3:5]
        kind, options = system.split(" ")[0], system.split(" ")[-1].split(",")
        path = PurePosixPath(paths.get("" if kind == "cgroup2" else "cpu", "/"))
        if kind == "cgroup2" or (kind == "cgroup" and "cpu" in options):
            within = path.relative_to(start) if path.is_relative_to(start) else PurePosixPath()
            yield from (root / place.lstrip("/") / each for each in (within, *within.parents))


def text_of(path: Path) -> str:
    """Return the text of a file of the system, empty if there is none."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def obey_parent() -> None:
    """Prepare a process of a pool: it ends with its parent, and leaves Ctrl-C, which reaches all processes, to it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    if parent := parent_process():
        parent.join()
    os._exit(1)
