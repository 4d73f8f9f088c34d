"""Training steps and inference: CPNet over the plain reference, and over the machine's own matrix products."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import nn

from cpnet.speed import prepare_process
from machine import describe, in_turns, matrix_products, table
from setups import DTYPES, FULL, SMALL, Setup, inference, on, training_step


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


def measure(setup: Setup, device: torch.device, *, repeats: int) -> Iterator[Timed]:
    """Time every form of a model, and the machine's matrix products, in turns."""
    batch = setup.pairs().to(device)
    for precision, dtype in DTYPES.items():
        models = {form: on(device, make(setup), compiled=compiled) for form, (make, compiled) in FORMS.items()}
        products = matrix_products(dtype, device)
        for mode in ("training", "inference"):
            actions: dict[str, Callable[[], object]] = {
                form: training_step(model, batch, precision, fused=form != "reference")
                if mode == "training"
                else inference(model, batch, precision)
                for form, model in models.items()
            }
            actions |= {name: product for name, (_, product) in products.items()}
            taken = in_turns(actions, repeats=repeats, warm=3)
            peak = max(flops / taken[name] for name, (flops, _) in products.items())
            for form in models:
                yield Timed(mode, precision, form, taken[form], peak)


def report(setup: Setup, times: list[Timed]) -> str:
    """Pairs a second, over the reference, and over the peak."""
    flops = {"training": setup.training_flops(), "inference": setup.forward_flops()}
    reference = {(t.mode, t.precision): t.seconds for t in times if t.form == "reference"}
    rows = []
    for timed in sorted(times, key=lambda t: t.mode, reverse=True):
        achieved = flops[timed.mode] * setup.batch / timed.seconds
        rows.append(
            [
                timed.mode,
                timed.precision,
                timed.form,
                f"{setup.batch / timed.seconds:,.1f}",
                f"{reference[timed.mode, timed.precision] / timed.seconds:.2f}",
                f"{reference[timed.mode, 'fp32'] / timed.seconds:.2f}",
                f"{achieved / 1e9:,.0f}",
                f"{timed.peak / 1e9:,.0f}",
                f"{achieved / timed.peak:.0%}",
            ]
        )
    header = ["", "precision", "form", "pairs/s", "x", "x fp32", "GFLOP/s", "peak", "of peak"]
    return f"{setup.name}, {flops['training'] / 1e9:.3f} GFLOP a pair and step\n\n{table(header, rows)}"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    parser.add_argument("--only", choices=["full", "small"])
    arguments = parser.parse_args()
    prepare_process()
    print(describe())
    for name, setup in (("small", SMALL), ("full", FULL)):
        if arguments.only in (None, name):
            times = list(measure(setup, arguments.device, repeats=arguments.repeats))
            print(f"\n{report(setup, times)}", flush=True)


if __name__ == "__main__":
    main()
