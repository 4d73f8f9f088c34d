"""Inference: latency of one pair, throughput by batch size, and many queries on one video."""

from __future__ import annotations

import argparse

import torch
from torch.utils.flop_counter import FlopCounterMode

from cpnet.training.compilation import prepare_process
from machine import describe, seconds, table
from setups import FULL, SMALL, Setup, inference, on, precisions

QUERIES = 100


def throughput(setup: Setup, device: torch.device, *, repeats: int) -> str:
    """Time batches of several sizes."""
    rows = []
    for precision in precisions(device):
        for compiled in (False, True):
            model = on(device, setup.model(), compiled=compiled)
            row = [precision, "compiled" if compiled else "not compiled"]
            for count in (1, 8, 32, 100):
                taken = seconds(inference(model, setup.pairs(count).to(device), precision), repeats=repeats, warm=3)
                row += [f"{1e3 * taken:.1f}"] if count == 1 else []
                row.append(f"{count / taken:,.0f}")
            rows.append(row)
    header = ["precision", "form", "latency of one pair, ms", *(f"pairs/s, batch {count}" for count in (1, 8, 32, 100))]
    return table(header, rows)


def query_share(setup: Setup) -> float:
    """Return the share of a pair's FLOPs that a second query on the same video costs."""
    model = setup.model().eval()
    counts: list[float] = []
    for queries in (1, 2):
        with FlopCounterMode(display=False) as counter, torch.inference_mode():
            model(setup.pairs(queries, videos=1))
        counts.append(counter.get_total_flops())
    return (counts[1] - counts[0]) / counts[0]


def one_video(setup: Setup, device: torch.device, *, repeats: int) -> str:
    """Time 1, 10 and 100 queries on one video, and 100 pairs with a copy of the video each, in batches of 32."""
    rows = []
    for precision in precisions(device):
        model = on(device, setup.model(), compiled=False)
        row = [precision]
        for queries in (1, 10, QUERIES):
            shared = setup.pairs(queries, videos=1).to(device)
            taken = seconds(inference(model, shared, precision), repeats=repeats, warm=3)
            row.append(f"{queries / taken:,.1f}")
        answers = [
            inference(model, setup.pairs(count, videos=1).per_pair().to(device), precision) for count in (32, 32, 32, 4)
        ]
        copies = seconds(lambda answers=answers: [answer() for answer in answers], repeats=repeats, warm=2)  # type: ignore[misc]
        rows.append([*row, f"{QUERIES / copies:,.1f}", f"{copies / taken:.2f}", f"{query_share(setup):.0%}"])
    header = ["precision", *(f"{n} queries, pairs/s" for n in (1, 10, 100)), "100 with copies, pairs/s", "x", "share"]
    return table(header, rows)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    arguments = parser.parse_args()
    prepare_process()
    print(describe())
    for setup in (SMALL, FULL):
        print(f"\n{setup.name}\n\n{throughput(setup, arguments.device, repeats=arguments.repeats)}", flush=True)
        print(f"\nqueries on one video\n\n{one_video(setup, arguments.device, repeats=arguments.repeats)}", flush=True)


if __name__ == "__main__":
    main()
