"""Measure all that needs a GPU, part by part; write one JSON and print one table. ``gpu.sh`` finds the interpreter.

Each part has a process and a time limit of its own. A part that fails or takes too long keeps the rows that it has
printed, and the next one begins. ``--quick`` takes tiny sizes, to check the script without a GPU.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

STEPS = {"machine": 30, "steps": 90, "waits": 30, "placement": 40, "compiled": 120, "serving": 30, "kernels": 30}
RUNS = {"activitynet": 170, "make_train": 60, "tests": 90, "resume": 60, "processes": 60, "hundred_epochs": 400}
PARTS = STEPS | RUNS  # the most seconds of each part, which is a function of gpu_steps or gpu_runs
WANTED = ("machine", "steps", "activitynet", "make_train", "tests", *PARTS)  # first; then the others in their order
PACKAGES = "pytorch_lightning torchmetrics hydra omegaconf h5py scipy pandas matplotlib psutil rich pytest hypothesis"
LEAST_SECONDS = 10  # with less time left no part starts
ROW = "ROW "


@dataclass(frozen=True)
class Run:
    """Device and size of a part, a folder that the parts share, and the seconds of this part."""

    device: str
    quick: bool
    folder: Path
    seconds: float

    def row(self, what: str, value: float | str, unit: str = "", note: str = "") -> None:
        """Print a row at once: the process may be killed."""
        print(ROW + json.dumps({"what": what, "value": value, "unit": unit, "note": note}), flush=True)


def work(run: Run, name: str, log: int) -> None:
    """Run a part in this process, and end it."""
    os.setsid()  # so that all its processes can be killed
    os.dup2(log, 1)
    os.dup2(log, 2)
    sys.stdout = sys.stderr = os.fdopen(log, "w", encoding="utf-8")
    try:
        getattr(importlib.import_module("gpu_steps" if name in STEPS else "gpu_runs"), name)(run)
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        sys.stdout.flush()
        os._exit(1)


def run_part(run: Run, name: str) -> dict[str, Any]:
    """Run a part in a fork of this process, which has imported all packages and never touches the GPU."""
    begin, ended, status, log = time.monotonic(), 0, 0, run.folder / f"{name}.log"
    with log.open("w") as stream:
        if not (child := os.fork()):
            work(run, name, stream.fileno())
    while not ended and time.monotonic() - begin < run.seconds:
        time.sleep(0.05)
        ended, status = os.waitpid(child, os.WNOHANG)
    if not ended:
        os.killpg(child, signal.SIGKILL)
        os.waitpid(child, 0)
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    rows = [json.loads(line[len(ROW) :]) for line in lines if line.startswith(ROW)]
    state = "timed out" if not ended else "failed" if status else "done"
    others = [line for line in lines if not line.startswith(ROW)]
    error = [] if state == "done" else others[-15:]
    return {"state": state, "seconds": time.monotonic() - begin, "rows": rows, "error": error}


def report(name: str, part: dict[str, Any]) -> None:
    """Print the rows of a part, and its error."""
    print(f"\n{name}: {part['state']}, {part['seconds']:.1f} s")
    for row in part["rows"]:
        value = row["value"] if isinstance(row["value"], str) else f"{row['value']:,.4g}"
        print(f"  {row['what']:<44} {value:>10} {row['unit']:<8} {row['note']}")
    print(*(f"  ! {line[:200]}\n" for line in part["error"]), sep="", end="", flush=True)


def main() -> None:
    """Run the parts, and exit with 1 if one was not done."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, and ten times as long")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=dict.fromkeys(WANTED))
    parser.add_argument("--minutes", type=float, default=8)
    parser.add_argument("--out", type=Path, default=Path(os.environ.get("OUT", "."), "gpu.json"))
    arguments = parser.parse_args()
    end, parts = time.monotonic() + 60 * arguments.minutes - 20, {}
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"  # torch looks for GPUs without starting CUDA
    if lacking := [name for name in PACKAGES.split() if find_spec(name) is None]:
        print(f"{sys.executable} lacks {', '.join(lacking)}: the parts that need them fail")
    else:
        importlib.import_module("gpu_runs"), importlib.import_module("gpu_steps")
    folder = Path(tempfile.mkdtemp())  # a TemporaryDirectory would be removed by the exit of a fork
    try:
        for name in arguments.only:
            seconds = min(PARTS[name] * (10 if arguments.quick else 1), end - time.monotonic())
            run = Run(arguments.device, arguments.quick, folder, seconds)
            not_run = {"state": "not run", "seconds": 0.0, "rows": [], "error": ["no time was left"]}
            parts[name] = not_run if seconds < LEAST_SECONDS else run_part(run, name)
            report(name, parts[name])
            content = {"device": run.device, "quick": run.quick, "lacking": lacking, "parts": parts}
            arguments.out.write_text(json.dumps(content, indent=1), encoding="utf-8")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    sys.exit(any(part["state"] != "done" for part in parts.values()))


if __name__ == "__main__":
    main()
