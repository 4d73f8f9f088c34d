"""Another process that holds a run's folder: locks of this one would not keep it out."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HOLD = """
import fcntl, sys
stream = open(sys.argv[1], "a+b")
fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def holder(folder: Path) -> Iterator[None]:
    """Have another process hold the folder's lock."""
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-c", HOLD, str(folder / ".lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield
            assert process.poll() is None
        finally:
            process.kill()
