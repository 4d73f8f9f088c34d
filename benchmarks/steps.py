"""Training steps and inference of CPNet beside the plain reference and the machine's own matrix products."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from torch import nn

from cpnet.batch import GroundingBatch
from machine import PRODUCTS, Clock, in_turns, matrix_products
from sections import Options, Part, Row
from setups import DTYPES, Setup, inference, on, training_step


def parts(options: Options) -> Iterator[Part]:
    """Yield a part for each model, precision and mode."""
    for setup in options.setups:
        for precision in options.precisions:
            for mode, weight in (("training", 0.13), ("inference", 0.05)):
                rows = partial(measure, options, setup, precision, mode)
                seconds = 12 + weight * setup.batch * setup.training_flops() / 1e9
                yield Part(f"{setup.name}: {mode}, {precision}", (4 if options.compiled else 1) * seconds, rows)


def measure(options: Options, setup: Setup, precision: str, mode: str, clock: Clock) -> Iterator[Row]:
    """Time every form of a model, and the machine's matrix products, in turns."""
    count = fitting(options, setup, precision, mode, clock)
    batch = setup.pairs(count).to(options.device)
    products = matrix_products(DTYPES[precision], options.device, [(64, 64, 64)] if options.quick else PRODUCTS)
    actions: dict[str, Callable[[], object]] = {}
    for form in ("reference", *(f"cpnet, {'' if compiled else 'not '}compiled" for compiled in options.forms())):
        model = setup.reference() if form == "reference" else setup.model()
        on(options.device, model, compiled=form == "cpnet, compiled")
        actions[form] = action(model, batch, precision, mode, fused=form != "reference")
        if form == "cpnet, compiled":
            clock.say(f"compiling for {mode}")
            actions[form](), actions[form]()  # compile, which must never be taken for a measurement
    taken = in_turns(
        actions | {name: product for name, (_, product) in products.items()}, repeats=options.repeats, clock=clock
    )
    peak = max(flops / taken[name] for name, (flops, _) in products.items())
    flops = count * (setup.training_flops() if mode == "training" else setup.forward_flops())
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
        }


def action(model: nn.Module, batch: GroundingBatch, precision: str, mode: str, *, fused: bool) -> Callable[[], object]:
    """Return a training step or an inference."""
    return (
        training_step(model, batch, precision, fused=fused)
        if mode == "training"
        else inference(model, batch, precision)
    )


def fitting(options: Options, setup: Setup, precision: str, mode: str, clock: Clock) -> int:
    """Return the size of batches, halved until two rounds fit into the time of a clock; a few pairs tell."""
    reference = setup.reference().to(options.device)
    few, count = setup.pairs(4).to(options.device), setup.batch
    seconds = in_turns({"a few pairs": action(reference, few, precision, mode, fused=False)}, repeats=1)["a few pairs"]
    while count >= 8 and 2 * (1 + len(options.forms())) * count * seconds / 4 > clock.left():
        count //= 2
    return count
