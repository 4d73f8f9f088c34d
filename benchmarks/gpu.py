"""Measure all that needs a GPU, part by part; write one JSON and print the tables. ``gpu.sh`` finds the interpreter.

Each part has a process and a time limit of its own. A part that fails or takes too long keeps its rows, and the next
one begins. ``--quick`` takes tiny sizes, to check the script without a GPU.
"""

from __future__ import annotations

import argparse
import importlib
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from cpnet.training import threads

if __name__ == "__main__":  # before torch is imported
    threads.choose()
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"  # torch looks for GPUs without starting CUDA

import torch

import steps
from bench import SECTIONS, keep, measure
from cpnet.training.compilation import prepare_process
from sections import Clock, Options, Part, Row, in_turns
from setups import FULL, SMALL, TINY, precisions, training_step
from starving import training, write_store

# The most seconds of each part: a section of bench.py, a form to compile, or a function of this module or of gpu_runs.
FIRST = {"steps": 80, "activitynet": 170, "make_train": 60, "waits": 30, "starving": 40, "serving": 60}
THEN = {"resume": 60, "processes": 60, "compiled": 240, "cuda_graphs": 180, "tests": 240, "hundred_epochs": 400}
PARTS = FIRST | THEN
LEAST_SECONDS = 10  # with less time left no part starts


def parts(name: str, options: Options, folder: Path) -> Iterable[Part]:
    """Return the tables of a part."""
    if name in SECTIONS:
        found: Iterable[Part] = importlib.import_module(name).parts(options)
        return found
    if name in ("compiled", "cuda_graphs"):
        if options.quick:
            torch.compiler.set_stance("force_eager")  # compiling takes minutes
        options = replace(options, forms=("not compiled", name), precisions=["bf16"])
        return [part for part in steps.parts(options) if "training" in part.title]
    function = waits if name == "waits" else getattr(importlib.import_module("gpu_runs"), name)
    return [Part(str(function.__doc__).rstrip("."), 1.0, partial(function, options, folder))]


def waits(options: Options, folder: Path, clock: Clock) -> Iterator[Row]:
    """Wait for ``norm.isfinite()`` in each step, and the lines in which a step and its data wait."""
    for setup in options.setups:
        model, batch = setup.model().to(options.device), setup.pairs().to(options.device)
        forms = {name: training_step(model, batch, "bf16", waits=name == "waits") for name in ("waits", "runs on")}
        taken = in_turns(forms, repeats=options.repeats, clock=clock)
        yield {"model": setup.name, **{f"{name}, ms": 1e3 * each for name, each in taken.items()}}
    step = training_step(*training(options, write_store(options, folder), "device"), "bf16", waits=True)
    step()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if options.gpu:
            torch.cuda.set_sync_debug_mode("warn")
        step()
    lines = (f"{Path(each.filename).name}:{each.lineno}" for each in caught if "synchroniz" in str(each.message))
    for line, times in Counter(lines).items():
        yield {"a step waits in": line, "times": times}


def work(name: str, options: Options, folder: Path, seconds: float, out: Path) -> None:
    """Measure a part in this process, and end it."""
    os.setsid()  # so that all its processes can be killed
    try:
        prepare_process()
        todo = [(name, replace(part, weight=1.0)) for part in parts(name, options, folder)]
        measure(todo, options.device, ends=time.perf_counter() + 0.9 * seconds, path=out)
        os._exit(0)
    except BaseException:
        (folder / f"{name}.error").write_text(traceback.format_exc(), encoding="utf-8")
        os._exit(1)


def run_part(name: str, options: Options, folder: Path, seconds: float, out: Path) -> str:
    """Run a part in a fork of this process, which has imported all packages and never touches the GPU.

    Returns:
        done, failed, timed out or not run; the file has it too
    """
    begin, ended, status = time.monotonic(), 0, 0
    state, error = "not run", folder / f"{name}.error"
    if seconds >= LEAST_SECONDS:
        sys.stdout.flush()
        if not (child := os.fork()):
            work(name, options, folder, seconds, out)
        while not ended and time.monotonic() - begin < seconds:
            time.sleep(0.05)
            ended, status = os.waitpid(child, os.WNOHANG)
        if not ended:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
        state = "timed out" if not ended else "failed" if status else "done"
    message = error.read_text(encoding="utf-8")[-2000:] if error.exists() else ""
    print(f"\n{message}{name}: {state}, {time.monotonic() - begin:.1f} s", flush=True)
    keep(out, [{"section": "gpu", "part": name, "state": state, "s": time.monotonic() - begin, "error": message}])
    return state


def main() -> None:
    """Run the parts, and exit with 1 if one was not done."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, and ten times as long")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=[*PARTS])
    parser.add_argument("--minutes", type=float, default=8)
    parser.add_argument("--out", type=Path, default=Path(os.environ.get("OUT", "."), "gpu.json"))
    arguments = parser.parse_args()
    end, quick, device = time.monotonic() + 60 * arguments.minutes - 20, arguments.quick, torch.device(arguments.device)
    with suppress(ImportError):  # of a package that is not installed: its parts fail and name it
        importlib.import_module("gpu_runs")
    setups = [TINY] if quick else [FULL, SMALL]
    options = Options(device, setups, precisions(device), repeats=1 if quick else 5, quick=quick)
    folder = Path(tempfile.mkdtemp())  # a TemporaryDirectory would be removed by the exit of a fork
    try:
        most = {name: PARTS[name] * (10 if quick else 1) for name in arguments.only}
        states = [
            run_part(name, options, folder, min(seconds, end - time.monotonic()), arguments.out.absolute())
            for name, seconds in most.items()
        ]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    sys.exit(set(states) != {"done"})


if __name__ == "__main__":
    main()
