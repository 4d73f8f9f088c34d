"""Each baseline beside its authors' code, with the same weights and inputs: the largest difference of their outputs.

    python benchmarks/equality.py --peers DIR

DIR has the checkouts VSLNet, LGI4temporalgrounding, 2D-TAN, TMLGA and snag_release.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path

import torch
from torch import Tensor

# Checkout of each module ``equal.NAME``, which has ``outputs(folder)``: names of outputs, each with ours and theirs.
CHECKOUTS = {
    "vslnet": "VSLNet",
    "lgi": "LGI4temporalgrounding",
    "two_d_tan": "2D-TAN",
    "tmlga": "TMLGA",
    "snag": "snag_release",
}
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Equality:
    """Largest difference of an output."""

    model: str
    output: str
    shape: tuple[int, ...]
    difference: float


def compare(model: str, folder: Path) -> list[Equality]:
    """Compare the outputs of a model in this process, which prints nothing meanwhile."""
    sys.path[:0] = [str(folder), str(folder / "lib"), str(Path(__file__).parent)]
    torch.manual_seed(0)
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()), torch.no_grad():
        found: Iterator[tuple[str, Tensor, Tensor]] = import_module(f"equal.{model}").outputs(folder)
        return [
            Equality(model, name, tuple(ours.shape), (ours - theirs).abs().max().item()) for name, ours, theirs in found
        ]


def main() -> None:
    """Print a table; the exit code is 1 if a difference is above the tolerance."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=Path, required=True)
    parser.add_argument("--model", choices=CHECKOUTS)
    options = parser.parse_args()
    print("| model | output | shape | largest difference |\n|---|---|---|---|")
    largest = 0.0
    for model in [options.model] if options.model else CHECKOUTS:
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:  # the checkouts have modules of the same names
            for each in pool.submit(compare, model, options.peers / CHECKOUTS[model]).result():
                print(f"| {model} | {each.output} | {' x '.join(map(str, each.shape))} | {each.difference:.1e} |")
                largest = max(largest, each.difference)
    sys.exit(largest > TOLERANCE)


if __name__ == "__main__":
    main()
