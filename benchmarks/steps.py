"""Training steps and inference: CPNet over the plain reference, and over the machine's own matrix products."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import nn

from cpnet.speed import prepare_process
from machine import describe, matrix_peak, seconds, table
from setups import DTYPES, FULL, SMALL, Setup, inference, on, training_step


@dataclass(frozen=True)
class Timed:
    """Seconds of a batch in one mode, precision and form."""

    mode: str
    precision: str
    form: str
    seconds: float


FORMS: dict[str, tuple[Callable[[Setup], nn.Module], bool]] = {
    "reference": (Setup.reference, False),
    "cpnet, not compiled": (Setup.model, False),
    "cpnet, compiled": (Setup.model, True),
}


def measure(setup: Setup, device: torch.device, *, repeats: int) -> Iterator[Timed]:
    """Time every form of a model, one after the other."""
    batch = setup.pairs().to(device)
    for precision in DTYPES:
        for form, (make, compiled) in FORMS.items():
            model = on(device, make(setup), compiled=compiled)
            step = training_step(model, batch, precision, fused=form != "reference")
            yield Timed("training", precision, form, seconds(step, repeats=repeats, warm=3))
            answer = inference(model, batch, precision)
            yield Timed("inference", precision, form, seconds(answer, repeats=repeats, warm=3))


def report(setup: Setup, times: list[Timed], peaks: dict[str, float]) -> str:
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
                f"{achieved / peaks[timed.precision]:.0%}",
            ]
        )
    header = ["", "precision", "form", "pairs/s", "x", "x fp32", "GFLOP/s", "of peak"]
    return f"{setup.name}, {flops['training'] / 1e9:.3f} GFLOP a pair and step\n\n{table(header, rows)}"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    parser.add_argument("--only", choices=["full", "small"])
    arguments = parser.parse_args()
    prepare_process()
    peaks = {name: matrix_peak(dtype, arguments.device) for name, dtype in DTYPES.items()}
    print(
        describe(),
        "",
        f"matrix products, GFLOP/s: {peaks['fp32'] / 1e9:,.0f} fp32, {peaks['bf16'] / 1e9:,.0f} bf16",
        sep="\n",
    )
    for name, setup in (("small", SMALL), ("full", FULL)):
        if arguments.only in (None, name):
            times = list(measure(setup, arguments.device, repeats=arguments.repeats))
            print(f"\n{report(setup, times, peaks)}", flush=True)


if __name__ == "__main__":
    main()
