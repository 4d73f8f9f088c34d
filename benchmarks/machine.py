"""What the machine is and how fast it copies memory, so that other figures can be given as a share of it."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from statistics import median

import h5py
import numpy as np
import torch

COPIED_BYTES = 256 << 20  # beyond what a processor's cache holds for one program


def seconds(action: Callable[[], object], *, repeats: int = 7) -> float:
    """Median time of an action, after a first run that does not count."""
    action()
    taken = []
    for _ in range(repeats):
        begin = time.perf_counter()
        action()
        taken.append(time.perf_counter() - begin)
    return median(taken)


def copy_bandwidth() -> float:
    """Bytes a second of copying memory that is there already, reading and writing counted."""
    source, target = (torch.from_numpy(np.ones(COPIED_BYTES, np.uint8)) for _ in range(2))
    return 2 * COPIED_BYTES / seconds(lambda: target.copy_(source))


def describe() -> str:
    """One line on machine, versions and date."""
    models = [line.partition(":")[2].strip() for line in _lines(Path("/proc/cpuinfo")) if line.startswith("model name")]
    processor = models[0] if models else platform.processor() or platform.machine()
    return (
        f"{processor}, {torch.get_num_threads()} threads; torch {torch.__version__}, numpy {np.__version__}, "
        f"h5py {h5py.__version__}, Python {platform.python_version()}; {date.today().isoformat()}"
    )


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []
