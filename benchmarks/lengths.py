"""Memory and time against T; each length has its own process, whose peak of resident memory is read."""

from __future__ import annotations

import argparse
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import psutil

from cpnet.training.compilation import prepare_process
from machine import describe, seconds, table
from setups import FULL, inference, training_step

BATCH = 4


def measure(mode: str, clips: int) -> tuple[float, float]:
    """Return seconds of a batch, and MB of the process's peak above its memory before the first batch."""
    prepare_process()
    setup = replace(FULL, clips=clips, batch=BATCH)
    model, batch = setup.model(), setup.pairs()
    make = {"training": lambda: training_step(model, batch, "fp32", fused=True)}.get(
        mode, lambda: inference(model, batch, "fp32")
    )
    before = psutil.Process().memory_info().rss
    taken = seconds(make(), repeats=3)
    return taken, (_peak() - before) / 1e6


def _peak() -> int:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return 1024 * int(line.split()[1])


def main() -> None:
    """Print the table, or measure one length in this process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--longest", type=int, default=4096)
    parser.add_argument("--one", nargs=2, metavar=("MODE", "CLIPS"))
    arguments = parser.parse_args()
    if arguments.one:
        print(*measure(arguments.one[0], int(arguments.one[1])))
        return
    print(describe(), "", f"{FULL.name.split(',')[0]}, D = 512, batches of {BATCH}, fp32, not compiled\n", sep="\n")
    rows = []
    lengths = [128 << n for n in range(6) if 128 << n <= arguments.longest]
    for mode in ("training", "inference"):
        earlier = 0.0
        for clips in lengths:
            command = [sys.executable, __file__, "--one", mode, str(clips)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            taken, megabytes = map(float, done.stdout.split())
            growth = f"{megabytes / earlier:.2f}" if earlier else ""
            rows.append([mode, str(clips), f"{1e3 * taken:,.0f}", f"{megabytes:,.0f}", growth])
            earlier = megabytes
    print(table(["", "T", "ms a batch", "peak memory, MB", "over half the T"], rows))


if __name__ == "__main__":
    main()
