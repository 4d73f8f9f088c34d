"""Processes of a pool that end when their parent ends, however it ends."""

from __future__ import annotations

import os
import signal
import threading
from multiprocessing import parent_process


def obey_parent() -> None:
    """Prepare a process of a pool: it ends with its parent, and leaves Ctrl-C, which reaches all processes, to it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    if parent := parent_process():
        parent.join()
    os._exit(1)
