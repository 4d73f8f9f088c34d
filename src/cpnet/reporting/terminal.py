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


def print_results(results: Results, *, console: Console | None = None) -> None:
    """Print the results of a run, of the trivial predictors, and of the paper if known."""
    console, blind = console or Console(), results.protocol.blind
    if not results.metrics:
        split = f"{results.protocol.dataset}, {results.protocol.split} split, {results.pairs} pairs"
        _print(console, f"{split}: no true windows, so they are predicted and not scored; see {SUBMISSION}")
        return
    name = results.model if blind == "none" else f"{results.model}, without its {blind}"
    keys = printed_keys(results.metrics)
    lines = [
        [name, *(f"{metrics[key]:.2f}" if key in metrics else "-" for key in keys)]
        for name, metrics in {name: results.metrics, **references([results])}.items()
    ]
    _print_grid(console, heading(results), ["", *map(printed_name, keys)], lines, box=HEAVY_HEAD)
    for sentence in describe(results):
        _print(console, sentence, "italic")


def print_report(report: Report, console: Console) -> None:
    """Print all tables, the reasons for several tables, and the folders left out."""
    for table in report.tables:
        heads, lines = table.cells()
        cost = len(heads) - 1 - len(table.costs)
        end = cost - len(table.compared)
        _print_grid(console, table.title, [*heads[:end], heads[-1]], [[*line[:end], line[-1]] for line in lines])
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


def _print_grid(
    console: Console, title: str, heads: Sequence[str], lines: Sequence[Sequence[str]], *, box: Box = SIMPLE_HEAD
) -> None:
    plain = box is SIMPLE_HEAD  # narrow, so that four metrics and a name fit into 80 columns
    grid = Grid(title=Text(printable(title), "bold"), title_justify="left", box=box, show_edge=not plain)
    grid.padding = (0, 0, 0, 0) if plain else (0, 1, 0, 1)
    grid.add_column("", overflow="fold", min_width=16 if plain else None)
    for head in heads[1:]:
        grid.add_column(re.sub(r",| (?=\()", "\n", head), justify="right", no_wrap=True, min_width=5 if plain else 7)
    for name, *cells in lines:
        grid.add_row(Text(printable(name)), *cells)
    console.print(grid)


def _print(console: Console, text: str, style: str = "") -> None:
    console.print(Text(printable(text), style), soft_wrap=True)
