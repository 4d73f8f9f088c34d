"""Real processes: those that have ended no longer hold the pipe."""

import subprocess
import sys

PROGRAM = """
import os, signal
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from cpnet.workers import obey_parent
print(ProcessPoolExecutor(1, get_context("spawn"), obey_parent).submit(os.getpid).result(), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_processes_of_a_pool_end_with_a_killed_parent() -> None:
    ended = subprocess.run([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, timeout=30, check=False)
    assert (ended.returncode, int(ended.stdout) > 0) == (-9, True)
