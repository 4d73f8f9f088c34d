"""Real processes: what has ended no longer holds the pipe."""

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import os
import signal
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from cpnet.workers import obey_parent

if __name__ == "__main__":
    print(ProcessPoolExecutor(1, get_context("spawn"), obey_parent).submit(os.getpid).result(), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_processes_of_a_pool_end_with_a_killed_parent(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    ended = subprocess.run([sys.executable, tmp_path / "program.py"], stdout=subprocess.PIPE, timeout=30, check=False)
    assert (ended.returncode, int(ended.stdout) > 0) == (-9, True)
