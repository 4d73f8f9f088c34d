"""The machine: its name, its matrix products and its memory, to which other figures are compared."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Mapping
from datetime import date
from functools import partial
from pathlib import Path
from statistics import median

import h5py
import numpy as np
import torch

COPIED_BYTES = 256 << 20  # more than the cache of a processor


def seconds(action: Callable[[], object], *, repeats: int = 7, warm: int = 1) -> float:
    """Return the median time of an action, after ``warm`` runs that do not count."""
    return in_turns({"action": action}, repeats=repeats, warm=warm)["action"]


def in_turns(actions: Mapping[str, Callable[[], object]], *, repeats: int = 7, warm: int = 1) -> dict[str, float]:
    """Return the median time of each action; they take turns, so that the load of a shared machine affects all."""
    for action in actions.values():
        for _ in range(warm):
            action()
    taken: dict[str, list[float]] = {name: [] for name in actions}
    for _ in range(repeats):
        for name, action in actions.items():
            _wait()
            begin = time.perf_counter()
            action()
            _wait()
            taken[name].append(time.perf_counter() - begin)
    return {name: median(times) for name, times in taken.items()}


def matrix_products(dtype: torch.dtype, device: torch.device) -> dict[str, tuple[float, Callable[[], object]]]:
    """Return the FLOPs of some matrix products with their functions: large squares, and layers on many clips."""
    products: dict[str, tuple[float, Callable[[], object]]] = {}
    for rows, inner, columns in ((2048, 2048, 2048), (4096, 4096, 4096), (12800, 512, 512), (12800, 2048, 512)):
        left, right = (torch.randn(*shape, device=device).to(dtype) for shape in ((rows, inner), (inner, columns)))
        product: Callable[[], object] = partial(torch.mm, left, right)
        products[f"{rows} x {inner} x {columns}"] = 2 * rows * inner * columns, product
    return products


def matrix_peak(dtype: torch.dtype, device: torch.device) -> float:
    """Return the FLOPs a second of the fastest matrix product."""
    products = matrix_products(dtype, device)
    return max(flops / seconds(product, repeats=9) for flops, product in products.values())


def computes_bf16(device: torch.device) -> bool:
    """Return whether a device has instructions for bfloat16; a CPU without them emulates it slowly."""
    return device.type != "cpu" or torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def table(header: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table."""
    return "\n".join("| " + " | ".join(row) + " |" for row in (header, ["---"] * len(header), *rows))


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def copy_bandwidth() -> float:
    """Return the bytes a second of copying between two existing buffers; reads and writes count."""
    source, target = (torch.from_numpy(np.ones(COPIED_BYTES, np.uint8)) for _ in range(2))
    return 2 * COPIED_BYTES / seconds(lambda: target.copy_(source))


def describe() -> str:
    """Return one line with machine, versions and date."""
    models = [line.partition(":")[2].strip() for line in _lines(Path("/proc/cpuinfo")) if line.startswith("model name")]
    processor = models[0] if models else platform.processor() or platform.machine()
    return (
        f"{processor}, {torch.get_num_threads()} threads; torch {torch.__version__}, numpy {np.__version__}, "
        f"h5py {h5py.__version__}, Python {platform.python_version()}; {date.today().isoformat()}"
    )


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []
