"""Parts of ``gpu.py`` about a step on a GPU that no section of ``bench.py`` has."""

from __future__ import annotations

import platform
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import torch

from machine import Clock, in_turns
from sections import Options, Row
from setups import training_step
from starving import training, write_store


def card(options: Options, *_: object) -> Iterator[Row]:
    """GPU and versions."""
    properties = torch.cuda.get_device_properties(0) if options.gpu else None
    yield {
        "GPU": properties.name if properties else "none",
        "GB": properties.total_memory / 1e9 if properties else 0.0,
        "multiprocessors": properties.multi_processor_count if properties else 0,
        "torch": torch.__version__,
        "CUDA": str(torch.version.cuda),
        "Python": platform.python_version(),
    }


def waits(options: Options, folder: Path, clock: Clock) -> Iterator[Row]:
    """Wait for ``norm.isfinite()`` in each step, and the lines in which a step and its data wait."""
    for setup in options.setups:
        model, batch = setup.model().to(options.device), setup.pairs().to(options.device)
        forms = {
            f"{name}, ms": training_step(model, batch, "bf16", waits=name == "waits") for name in ("waits", "runs on")
        }
        yield {
            "model": setup.name,
            **{name: 1e3 * taken for name, taken in in_turns(forms, repeats=options.repeats, clock=clock).items()},
        }
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


def kernels(options: Options, *_: object) -> Iterator[Row]:
    """Kernels that take most of a training step in bf16."""
    for setup in options.setups:
        step = training_step(setup.model().to(options.device), setup.pairs().to(options.device), "bf16")
        step()
        with torch.profiler.profile() as profiler:
            step()
        field = f"self_{options.device.type.replace('cuda', 'device')}_time_total"
        events = [each for each in profiler.key_averages() if each.device_type.name == options.device.type.upper()]
        used = Counter({each.key: getattr(each, field) for each in events})
        for kernel, taken in used.most_common(10):
            yield {
                "model": setup.name,
                "kernel": kernel[:36],
                "ms": taken / 1e3,
                "% of step": 100 * taken / used.total(),
            }
