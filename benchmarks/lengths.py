"""Memory and time against T; each length has its own process, whose peak of resident memory is read."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import psutil

from cpnet.training.compilation import prepare_process
from sections import Clock, Options, Part, Row, seconds
from setups import FULL, inference, training_step

BATCH, LENGTHS = 4, (128, 256, 512, 1024, 2048, 4096)


def parts(options: Options) -> Iterator[Part]:
    """Yield the parts of training and inference."""
    for mode, weight in (("training", 100.0), ("inference", 25.0)):
        title = f"{mode}, CPNet, D = {FULL.width}, batches of {BATCH}, fp32, not compiled"
        yield Part(title, weight, partial(measure, mode, (16, 32) if options.quick else LENGTHS))


def measure(mode: str, lengths: tuple[int, ...], clock: Clock) -> Iterator[Row]:
    """Yield a row a length, as long as there is time."""
    earlier = whole = 0.0
    for clips in lengths:
        if clock.left() < 2 * whole:
            clock.cut = f"T >= {clips}: skipped, there is no time"
            return
        clock.say(f"T = {clips}")
        begin = time.perf_counter()
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            taken, megabytes = pool.submit(measure_here, mode, clips).result()
        whole = time.perf_counter() - begin
        clock.repeats = 3
        growth = megabytes / earlier if earlier else ""
        yield {"T": clips, "ms a batch": 1e3 * taken, "peak memory, MB": megabytes, "x half the T": growth}
        earlier = megabytes


def measure_here(mode: str, clips: int) -> tuple[float, float]:
    """Return seconds of a batch, and MB of the process's peak above its memory before the first batch."""
    prepare_process()
    setup = replace(FULL, clips=clips, batch=BATCH)
    model, batch = setup.model(), setup.pairs()
    before = psutil.Process().memory_info().rss
    action = training_step(model, batch, "fp32") if mode == "training" else inference(model, batch, "fp32")
    taken = seconds(action, repeats=3)
    return taken, (_peak() - before) / 1e6


def _peak() -> int:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return 1024 * int(line.split()[1])
