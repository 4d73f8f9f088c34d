"""Processes of a pool: the CPUs that they may use, and an end with their parent, however it ends."""

from __future__ import annotations

import os
import signal
import threading
from multiprocessing import parent_process


def cpus() -> set[int]:
    """Return the CPUs that this process may use."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


def obey_parent() -> None:
    """Prepare a process of a pool: it ends with its parent, and leaves Ctrl-C, which reaches all processes, to it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    if parent := parent_process():
        parent.join()
    os._exit(1)
