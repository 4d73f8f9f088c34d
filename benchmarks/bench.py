"""Time the model, its data and its answers on this machine, in ten minutes or less.

    python benchmarks/bench.py [SECTION ...] [--minutes 10] [--json FILE] [--compiled]

Each row is printed as soon as it is measured. On a slow or busy machine there are fewer repeats, not more minutes.
"""

from __future__ import annotations

import argparse
import importlib
import json
import signal
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from multiprocessing import active_children
from pathlib import Path
from typing import Any

from cpnet.training import threads

if __name__ == "__main__":  # as in training, whose speed is to be measured, also where a quota leaves few cores
    threads.choose()

import torch

from cpnet.files import replacing
from cpnet.training.compilation import prepare_process
from sections import Clock, Options, Part, Row, conditions, kind, number
from setups import FULL, SMALL, TINY, precisions

SECTIONS = {
    "steps": "training steps and inference beside a plain implementation and the machine's matrix products",
    "serving": "latency, batches, and many queries on one video",
    "starving": "training from each placement of the features, over steps on one fixed batch",
    "loader": "the loader beside a loop of h5py and numpy and the machine's copy of memory",
    "lengths": "memory and time as videos become longer",
    "peers": "other models beside ours, if there is --peers",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the chosen sections, print their rows, and write them."""
    parsed = parse(arguments)
    prepare_process()
    options = Options(
        device=parsed.device,
        setups=[TINY] if parsed.quick else [SMALL, FULL],
        precisions=precisions(parsed.device),
        forms=("not compiled", "compiled") if parsed.compiled else ("not compiled",),
        repeats=1 if parsed.quick else 5,
        quick=parsed.quick,
        peers=parsed.peers,
    )
    print(kind(), conditions(), f"{', '.join(parsed.sections)} in at most {parsed.minutes:g} minutes", sep="; ")
    if "bf16" not in options.precisions:
        print("bf16: skipped, this processor has no instructions for it and emulates it many times more slowly")
    todo = [(name, part) for name in parsed.sections for part in importlib.import_module(name).parts(options)]
    # Some time is for imports, and for the end of the last measurement.
    if not parsed.quick:
        signal.signal(signal.SIGALRM, time_over)
        signal.setitimer(signal.ITIMER_REAL, 60 * parsed.minutes)
    measure(todo, parsed.device, ends=time.perf_counter() + 57 * parsed.minutes, path=parsed.json)


def time_over(*_: object) -> None:
    """End the process, if a measurement takes many times longer than on a quiet machine."""
    for process in active_children():
        process.kill()
    sys.exit("ended in the middle of a measurement: the time is over; allow more --minutes")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    listed = "\n".join(f"  {name:<10}{what}" for name, what in SECTIONS.items())
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=f"{__doc__}\nsections:\n{listed}", formatter_class=raw)
    parser.add_argument("sections", nargs="*", metavar="SECTION", help="names, with spaces or commas; default: all")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    parser.add_argument("--compiled", action="store_true", help="time compiled models too: allow --minutes 60")
    parser.add_argument("--json", type=Path, metavar="FILE", help="add the rows to FILE, in place of older ones")
    parser.add_argument("--peers", type=Path, metavar="DIR", help="folder of the checkouts of other models")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to check that every line of code runs")
    parsed = parser.parse_args(arguments)
    names = [name for listed in parsed.sections for name in listed.split(",") if name]
    parsed.sections = names or [name for name in SECTIONS if name != "peers" or parsed.peers]
    if unknown := [name for name in names if name not in SECTIONS]:
        parser.error(f"no section {unknown[0]!r}; choose from {', '.join(SECTIONS)}")
    if "peers" in names and not parsed.peers:
        parser.error("section peers needs --peers DIR")
    return parsed


def measure(todo: Sequence[tuple[str, Part]], device: torch.device, *, ends: float, path: Path | None) -> None:
    """Measure each part in its share of the time that is left; print and keep each row as it comes.

    Every row gets the names of its section and part, the number of its repeats, and the conditions.
    """
    begun = time.perf_counter()
    for place, (name, part) in enumerate(todo):
        now = time.perf_counter()
        share = (ends - now) * part.weight / sum(other.weight for _, other in todo[place:])
        print(f"\n[{place + 1} of {len(todo)}, {now - begun:.0f} s] {name}: {part.title}", flush=True)
        if share < part.weight / 4:  # about one run without repeats
            print("skipped: there is no time left", flush=True)
            continue
        clock, rows, widths = Clock(ends=now + share, say=say), list[Row](), dict[str, int]()
        for row in part.rows(clock):
            say("")
            if row.keys() != widths.keys():
                texts = {key: 19 for key, value in row.items() if isinstance(value, str)}
                widths = {key: max(len(key), len(number(value)), texts.get(key, 0)) for key, value in row.items()}
                print(line(row, widths), line(["-" * width for width in widths.values()], widths), sep="\n")
            print(line([number(value) for value in row.values()], widths), flush=True)
            about: Row = {"repeats": clock.repeats or 0, "measured": conditions()}
            rows.append({"section": name, "part": part.title, **row, **about})
            if path:
                keep(path, rows, kind(device))
        say("")
        if clock.cut:
            print(f"{clock.cut} (--minutes allows {share:.0f} s here)", flush=True)


def line(cells: Iterable[str], widths: Mapping[str, int]) -> str:
    """Return a row of a Markdown table."""
    return f"| {' | '.join(cell.ljust(width) for cell, width in zip(cells, widths.values(), strict=True))} |"


def say(progress: str) -> None:
    """Show the progress of a row on a terminal, in place of the progress before it."""
    if sys.stdout.isatty():
        print(f"\r\033[K{progress}", end="", flush=True)


def keep(path: Path, rows: Sequence[Row], machine: str = "") -> None:
    """Write rows to a file of results, one a line, in place of earlier rows of the same parts."""
    kept: dict[str, Any] = {"machine": "", "rows": []}
    if path.exists():
        kept = json.loads(path.read_text(encoding="utf-8"))
    parts = {(row["section"], row["part"]) for row in rows}
    lines = [json.dumps(row, ensure_ascii=False) for row in kept["rows"] if (row["section"], row["part"]) not in parts]
    for row in rows:
        short = {key: float(f"{value:.4g}") if isinstance(value, float) else value for key, value in row.items()}
        lines.append(json.dumps(short, ensure_ascii=False))
    text = ",\n".join(lines)
    with replacing(path) as stream:
        stream.write(f'{{"machine": {json.dumps(machine or kept["machine"])}, "rows": [\n{text}\n]}}\n'.encode())


if __name__ == "__main__":
    main()
