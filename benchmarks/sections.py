"""What a section of the benchmarks is made of: parts with rows, measured in turns within the time of a clock."""

from __future__ import annotations

import math
import os
import platform
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from statistics import median

import torch

from setups import Setup

CPU_INFO = Path("/proc/cpuinfo")
Row = dict[str, str | float]


@dataclass
class Clock:
    """The time that measurements may take, and how many repeats fitted into it.

    Attributes:
        ends: when the time is over, by ``time.perf_counter``
        repeats: fewest repeats of the measurements so far; 0 if a first run had to count
        cut: what there was no time for, in words
        say: shows progress
    """

    ends: float = math.inf
    repeats: int | None = None
    cut: str = ""
    say: Callable[[str], None] = lambda text: None

    def left(self) -> float:
        """Return the seconds that are left."""
        return self.ends - time.perf_counter()

    def share(self, fraction: float) -> Clock:
        """Return a clock with a fraction of the time that is left."""
        return Clock(ends=self.ends - (1 - fraction) * self.left(), say=self.say)


def seconds(action: Callable[[], object], *, repeats: int = 7) -> float:
    """Return the median time of an action, after a run that does not count."""
    return in_turns({"action": action}, repeats=repeats)["action"]


def in_turns(
    actions: Mapping[str, Callable[[], object]], *, repeats: int = 7, warm: int = 1, clock: Clock | None = None
) -> dict[str, float]:
    """Return the median time of each action; they take turns, so that the load of a shared machine affects all.

    A clock ends the rounds before the one that exceeds its time. If it has time for no round, the last of the runs that
    do not count otherwise counts.
    """
    clock = clock or Clock()
    rounds: list[dict[str, float]] = []
    for turn in range(warm + repeats):
        begin = time.perf_counter()
        name = f"warm-up {turn + 1} of {warm}" if turn < warm else f"repeat {turn + 1 - warm} of {repeats}"
        rounds.append({action: _timed(run, clock, f"{name}: {action}") for action, run in actions.items()})
        if clock.left() < time.perf_counter() - begin:
            break
    counted = rounds[warm:] or rounds[-1:]
    done = max(len(rounds) - warm, 0)
    clock.repeats = done if clock.repeats is None else min(clock.repeats, done)
    if done < repeats:
        clock.cut = f"repeats cut from {repeats} to {clock.repeats or 'a single first run'}"
    return {action: median(taken[action] for taken in counted) for action in actions}


def _timed(action: Callable[[], object], clock: Clock, progress: str) -> float:
    clock.say(progress)
    gpu = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    wait: Callable[[], object] = torch.cuda.synchronize if gpu else int
    times = 8 if gpu else 1  # in a row, in which the host may run ahead of the GPU
    wait()
    begin = time.perf_counter()
    for _ in range(times):
        action()
    wait()
    return (time.perf_counter() - begin) / times


@dataclass(frozen=True)
class Options:
    """What the user chose.

    Attributes:
        setups: models and batches
        forms: of each model; more than one if compiled models are timed too
        repeats: of each measurement, if there is time
        quick: whether all sizes are tiny, so that every line of code runs in seconds
        peers: folder of the checkouts of other models
    """

    device: torch.device
    setups: list[Setup]
    precisions: list[str]
    repeats: int
    quick: bool
    forms: tuple[str, ...] = ("not compiled",)
    peers: Path | None = None

    @property
    def gpu(self) -> bool:
        """Whether the device is a GPU."""
        return self.device.type == "cuda"


@dataclass(frozen=True)
class Part:
    """A table of a section.

    Attributes:
        weight: its share of the time, in seconds on two quiet cores
        rows: measures and yields its rows, each as soon as it is known
    """

    title: str
    weight: float
    rows: Callable[[Clock], Iterable[Row]]


def number(value: str | float) -> str:
    """Return a value as it stands in a table."""
    if isinstance(value, str):
        return value
    if isinstance(value, int) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def kind(device: torch.device | None = None) -> str:
    """Return the GPU, or the processor with its vector instructions and the threads in use."""
    if device and device.type == "cuda":
        return torch.cuda.get_device_name()
    lines = CPU_INFO.read_text(encoding="utf-8").splitlines() if CPU_INFO.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    processor = models[0] if models else platform.processor() or platform.machine()
    amx = ", AMX" if torch.cpu._is_amx_tile_supported() else ""
    return f"{processor}, {torch.backends.cpu.get_cpu_capability()}{amx}, {torch.get_num_threads()} threads"


def conditions() -> str:
    """Return date, load and version of torch."""
    return f"{date.today().isoformat()}, load {os.getloadavg()[0]:.1f}, torch {torch.__version__}"
