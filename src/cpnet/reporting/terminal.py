"""A report on the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from cpnet.metrics import printed_name
from cpnet.printing import printable
from cpnet.reporting import cells
from cpnet.reporting.tables import ON_TEST, Estimate, Report, Row, Table


def print_report(report: Report, console: Console) -> None:
    """Print every table, why there are several, and what is in none."""
    for table in report.tables:
        _print_table(table, console)
    if report.reasons:
        _say(console, f"{len(report.tables)} tables, for runs of different protocols cannot be compared:", "bold")
        for reason in report.reasons:
            _say(console, f"  {reason}")
    if report.left_out:
        _say(console, f"left out: {len(report.left_out)} folders", "bold")
        for each in report.left_out:
            _say(console, f"  {each.folder}: {each.reason}")


def _print_table(table: Table, console: Console) -> None:
    grid = _grid(table.title, table.printed)
    for row in table.rows:
        seeds = f"\n{len(row.runs)} seed{'s' if len(row.runs) > 1 else ''}"
        measured = [_measured(row.estimates[key]) for key in table.printed]
        grid.add_row(Text.assemble((_by_key(row), "bold"), seeds), *measured)
    grid.add_section()
    for reference, style in [(each, "") for each in table.trivial] + [(each, "italic") for each in table.paper]:
        grid.add_row(
            Text(printable(reference.name)),
            *(cells.known(reference.metrics.get(k)) for k in table.printed),
            style=style,
        )
    for each in [grid, _differences(table)] if len(table.rows) > 1 else [grid]:
        console.print(each)
        _say(console, "")
    for line, text in enumerate(table.caption()):
        _say(console, text, "bold red" if line == 0 and table.protocol["selection"] == ON_TEST else "italic")
    for note in table.notes:
        _say(console, f"note: {note}")
    _say(console, "")


def _measured(estimate: Estimate) -> str:
    # Narrow, so that four metrics and a name fit into 80 columns
    return f"{cells.mean(estimate, ' ±')}\n{cells.between(estimate, 1)}"


def _differences(table: Table) -> Grid:
    # Two metrics alone, whose intervals are then as wide as they have to be; report.csv has them all.
    grid = _grid(f"difference to {table.baseline}", table.compared)
    for row in table.rows:
        if row.name != table.baseline:
            grid.add_row(Text(_by_key(row), "bold"), *(_difference(row, key) for key in table.compared))
    return grid


def _difference(row: Row, key: str) -> str:
    difference = row.estimates[key].difference
    lines = [cells.between(difference), cells.over_seeds(difference)] if difference else []
    return "\n".join([cells.difference(row.estimates[key]), *filter(None, lines)])


def _by_key(row: Row) -> str:
    return printable(row.name).replace(", ", ",\n")


def _grid(title: str, keys: Sequence[str]) -> Grid:
    grid = Grid(
        title=Text(printable(title), "bold"),
        title_justify="left",
        box=SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 0, 0, 1),
    )
    grid.add_column("", overflow="fold", min_width=20)
    for key in keys:
        grid.add_column(printed_name(key).replace(",", "\n"), justify="right", no_wrap=True)
    return grid


def _say(console: Console, text: str, style: str = "") -> None:
    console.print(Text(printable(text), style), soft_wrap=True)
