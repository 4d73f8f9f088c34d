"""Time training steps and inference of CPNet beside the plain reference and the machine's own matrix products.

    python benchmarks/steps.py [--compiled] [--bf16] [--only small|full] [--repeats 5]

Without options: float32, not compiled, in one or two minutes.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import nn

from cpnet.training.compilation import prepare_process
from machine import describe, in_turns, matrix_products, table
from setups import DTYPES, FULL, SMALL, Setup, inference, on, precisions, training_step

HEADER = ["", "precision", "form", "ms", "pairs/s", "x", "GFLOP/s", "peak", "of peak"]


@dataclass(frozen=True)
class Timed:
    """Seconds of a batch in one mode, precision and form, and the peak of matrix products in the same turns."""

    mode: str
    precision: str
    form: str
    seconds: float
    peak: float


FORMS: dict[str, tuple[Callable[[Setup], nn.Module], bool]] = {
    "reference": (Setup.reference, False),
    "cpnet, not compiled": (Setup.model, False),
    "cpnet, compiled": (Setup.model, True),
}


def measure(setup: Setup, device: torch.device, precision: str, *, compiled: bool, repeats: int) -> Iterator[Timed]:
    """Time every form of a model, and the machine's matrix products, in turns."""
    batch = setup.pairs().to(device)
    forms = {form: what for form, what in FORMS.items() if compiled or not what[1]}
    models = {form: on(device, make(setup), compiled=is_compiled) for form, (make, is_compiled) in forms.items()}
    products = matrix_products(DTYPES[precision], device)
    for mode in ("training", "inference"):
        actions: dict[str, Callable[[], object]] = {
            form: training_step(model, batch, precision, fused=form != "reference")
            if mode == "training"
            else inference(model, batch, precision)
            for form, model in models.items()
        }
        actions |= {name: product for name, (_, product) in products.items()}
        taken = in_turns(actions, repeats=repeats, warm=2)
        peak = max(flops / taken[name] for name, (flops, _) in products.items())
        for form in models:
            yield Timed(mode, precision, form, taken[form], peak)


def rows(setup: Setup, times: list[Timed]) -> Iterator[list[str]]:
    """Yield a row for each form: pairs a second, over the reference, and over the peak."""
    flops = {"training": setup.training_flops(), "inference": setup.forward_flops()}
    reference = {timed.mode: timed.seconds for timed in times if timed.form == "reference"}
    for timed in times:
        achieved = flops[timed.mode] * setup.batch / timed.seconds
        yield [
            timed.mode,
            timed.precision,
            timed.form,
            f"{1e3 * timed.seconds:,.1f}",
            f"{setup.batch / timed.seconds:,.1f}",
            f"{reference[timed.mode] / timed.seconds:.2f}",
            f"{achieved / 1e9:,.0f}",
            f"{timed.peak / 1e9:,.0f}",
            f"{achieved / timed.peak:.0%}",
        ]


def main() -> None:
    """Print a table for each model and precision as soon as it is measured."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    parser.add_argument("--only", choices=["full", "small"])
    parser.add_argument("--compiled", action="store_true", help="time compiled models too, which takes minutes")
    parser.add_argument("--bf16", action="store_true", help="time bfloat16 too, where the processor computes in it")
    arguments = parser.parse_args()
    prepare_process()
    print(describe())
    chosen = precisions(arguments.device) if arguments.bf16 else ["fp32"]
    for name, setup in (("small", SMALL), ("full", FULL)):
        if arguments.only not in (None, name):
            continue
        print(f"\n{setup.name}, {setup.training_flops() / 1e9:.3f} GFLOP a pair and step\n", flush=True)
        for precision in chosen:
            measured = measure(
                setup, arguments.device, precision, compiled=arguments.compiled, repeats=arguments.repeats
            )
            print(table(HEADER, list(rows(setup, list(measured)))), flush=True)


if __name__ == "__main__":
    main()
