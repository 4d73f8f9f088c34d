"""Training steps and inference of CPNet beside the plain reference and the machine's own matrix products."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import nn

from cpnet.batch import GroundingBatch
from sections import Clock, Options, Part, Row, in_turns, seconds
from setups import DTYPES, Setup, inference, on, training_step

# Rows, inner and columns of matrix products: large squares, and layers on many clips.
PRODUCTS = ((2048, 2048, 2048), (4096, 4096, 4096), (12800, 512, 512), (12800, 2048, 512))
LARGE = (8192, 8192, 8192)  # for GPUs


def parts(options: Options) -> Iterator[Part]:
    """Yield a part for each model, precision and mode."""
    for setup in options.setups:
        for precision in options.precisions:
            for mode, weight in (("training", 0.13), ("inference", 0.05)):
                rows = partial(measure, options, setup, precision, mode)
                share = 12 + weight * setup.batch * setup.training_flops / 1e9
                yield Part(f"{setup.name}: {mode}, {precision}", (4 if len(options.forms) > 1 else 1) * share, rows)


def measure(options: Options, setup: Setup, precision: str, mode: str, clock: Clock) -> Iterator[Row]:
    """Time every form of a model, and the machine's matrix products, in turns."""
    count = fitting(options, setup, precision, mode, clock)
    batch = setup.pairs(count).to(options.device)
    actions: dict[str, Callable[[], object]] = {}
    firsts: dict[str, Row] = {}
    for form in ("reference", *options.forms):
        reference = form == "reference"
        if options.gpu:
            torch.cuda.reset_peak_memory_stats()
        begin, before = time.perf_counter(), torch.cuda.memory_allocated() if options.gpu else 0
        model = on(options.device, setup.reference()) if reference else on(options.device, setup.model(), form)
        name = form if reference else f"cpnet, {form}"
        actions[name] = action(model, batch, precision, mode, fused=not reference)
        if options.gpu or len(options.forms) > 1:  # compile, which must never be taken for a measurement
            clock.say(f"first run: {name}")
            actions[name](), actions[name]()
        if options.gpu:
            gigabytes = (torch.cuda.max_memory_allocated() - before) / 1e9
            firsts[name] = {"first runs, s": time.perf_counter() - begin, "peak memory, GB": gigabytes}
    products: dict[str, Callable[[], object]] = {}
    shapes = [(64, 64, 64)] if options.quick else [*PRODUCTS, *([LARGE] if options.gpu else [])]
    for rows, inner, columns in shapes:
        left, right = (torch.randn(*each, device=options.device) for each in ((rows, inner), (inner, columns)))
        dtype = DTYPES[precision]
        products[f"{rows} x {inner} x {columns}"] = partial(torch.mm, left.to(dtype), right.to(dtype))
    taken = in_turns(actions | products, repeats=options.repeats, clock=clock)
    peak = max(2 * math.prod(shape) / taken[name] for shape, name in zip(shapes, products, strict=True))
    flops = count * (setup.training_flops if mode == "training" else setup.forward_flops)
    for form in actions:
        yield {
            "form": form,
            "batch": count,
            "ms": 1e3 * taken[form],
            "pairs/s": count / taken[form],
            "x reference": taken["reference"] / taken[form],
            "GFLOP/s": flops / taken[form] / 1e9,
            "peak GFLOP/s": peak / 1e9,
            "% of peak": 100 * flops / taken[form] / peak,
            **firsts.get(form, {}),
        }


def action(model: nn.Module, batch: GroundingBatch, precision: str, mode: str, *, fused: bool) -> Callable[[], object]:
    """Return a training step or an inference."""
    if mode == "training":
        return training_step(model, batch, precision, fused=fused)
    return inference(model, batch, precision)


def fitting(options: Options, setup: Setup, precision: str, mode: str, clock: Clock) -> int:
    """Return the size of batches, halved until two rounds fit into the time of a clock; a few pairs tell."""
    if options.gpu:
        return setup.batch
    run = action(setup.reference(), setup.pairs(4), precision, mode, fused=False)
    taken, count = seconds(run, repeats=1), setup.batch
    while count >= 8 and 2 * (1 + len(options.forms)) * count * taken / 4 > clock.left():
        count //= 2
    return count
