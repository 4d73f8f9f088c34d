"""Tables on the terminal: of one run, and of a report."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rich.box import HEAVY_HEAD, SIMPLE_HEAD, Box
from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from cpnet.evaluation.names import printed_name
from cpnet.reporting.tables import WARNING, Report, describe, heading, printed_keys, references
from cpnet.runs.predictions import SUBMISSION
from cpnet.runs.results import Results
from cpnet.terminal import printable

NAME = 16  # letters of a name in a line of a narrow table


def print_results(*results: Results, console: Console | None = None) -> None:
    """Print the results of a run, of the trivial predictors, and of the paper if known; several tests in one table."""
    console = console or Console()
    scored = [each for each in results if each.metrics]
    for each in results:
        if not each.metrics:
            split = f"{each.protocol.dataset}, {each.protocol.split} split, {each.pairs} pairs"
            _print(console, f"{split}: no true windows, so they are predicted and not scored; see {SUBMISSION}")
    if not scored:
        return
    first, lines = scored[0], list[list[str]]()
    keys = printed_keys(first.metrics, first.protocol.split)
    for each in scored:
        blind = each.protocol.blind
        name = each.model if blind == "none" else f"{each.model}, without its {blind}"
        lines += [[f"{each.protocol.split}, {each.pairs} pairs", *("" for _ in keys)]] if len(scored) > 1 else []
        lines += [
            [name, *(f"{metrics[key]:.2f}" if key in metrics else "-" for key in keys)]
            for name, metrics in {name: each.metrics, **references([each])}.items()
        ]
    title = heading(first) if len(scored) == 1 else f"{first.protocol.dataset} (per cent)"
    box = SIMPLE_HEAD if len(keys) > 5 or len(scored) > 1 else HEAVY_HEAD  # narrow enough for 80 columns
    _print_grid(console, title, ["", *map(printed_name, keys)], lines, box=box)
    for sentence in dict.fromkeys(sentence for each in scored for sentence in describe(each)):
        _print(console, sentence, "italic")


def print_report(report: Report, console: Console) -> None:
    """Print all tables, the reasons for several tables, and the folders left out."""
    for table in report.tables:
        heads, lines = table.cells()
        cost = len(heads) - 1 - len(table.costs)
        end = cost - len(table.compared)
        for title, places in _grids(table.title, heads[:end], len(heads) - 1):
            grid = [[line[place] for place in places] for line in lines]
            known = [line for line in grid if any(cell not in ("-", "") for cell in line[1:])]
            _print_grid(console, title, [heads[place] for place in places], known)
            _print(console, "")
        if table.compared:
            compared = [[line[0], *line[end:cost]] for line in lines[: len(table.rows)] if line[0] != table.baseline]
            _print_grid(console, f"difference to {table.baseline}", ["", *heads[end:cost]], compared)
            _print(console, "")
        if table.costs:
            costs = [[line[0], *line[cost:-1]] for line in lines[: len(table.rows)]]
            _print_grid(console, "cost, mean over seeds", ["", *heads[cost:-1]], costs)
            _print(console, "")
        for sentence in table.sentences():
            _print(console, sentence, "bold red" if sentence == WARNING else "")
        _print(console, "")
        for published in table.published:
            _print_grid(console, published.title, *published.cells())
            _print(console, "")
    for title, sentences in report.remarks().items():
        _print(console, title, "bold")
        for sentence in sentences:
            _print(console, f"  {sentence}")


def _grids(title: str, heads: Sequence[str], seeds: int) -> list[tuple[str, list[int]]]:
    """Return title and columns of grids, which are narrow: R@1 with mIoU, and one for each other recall."""
    grids: dict[str, list[int]] = {title: [0]}
    for place, head in enumerate(heads[1:], start=1):
        recall, _, _ = head.partition(",")  # R@5, dR@1, mIoU
        of = title if recall in ("R@1", "mIoU") else recall.replace("dR", "discounted R")
        grids.setdefault(of, [0]).append(place)
    grids[title].append(seeds)
    return [*grids.items()]


def _print_grid(
    console: Console, title: str, heads: Sequence[str], lines: Sequence[Sequence[str]], *, box: Box = SIMPLE_HEAD
) -> None:
    plain = box is SIMPLE_HEAD  # narrow, so that four metrics and a name fit into 80 columns
    grid = Grid(title=Text(printable(title), "bold"), title_justify="left", box=box, show_edge=not plain)
    grid.padding = (0, 0, 0, 0) if plain else (0, 1, 0, 1)
    grid.add_column("", overflow="fold", min_width=NAME if plain else None)
    least = NAME
    for head, *column in zip(heads[1:], *(cells for _, *cells in lines), strict=True):
        folded = re.sub(r",| (?=\()", "\n", head)
        longest = max(len(line) for cell in (folded, *column) for line in cell.split("\n"))
        width = max(longest, 5 if plain else 7)
        grid.add_column(folded, justify="right", no_wrap=True, min_width=width)
        least += width + (1 if plain else 3)  # with the space around it
    for name, *cells in lines:
        grid.add_row(Text(printable(name)), *cells)
    width = console.width
    console.width = max(least, width)  # all digits even where the terminal is narrower
    console.print(grid)
    console.width = width


def _print(console: Console, text: str, style: str = "") -> None:
    console.print(Text(printable(text), style), soft_wrap=True)
