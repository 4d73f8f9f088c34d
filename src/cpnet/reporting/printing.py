"""Print tables and sentences in full, whatever the width of the terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table as Grid
from rich.text import Text

from cpnet.terminal import printable


def print_table(title: str, heads: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    """Print a table, in full even where the terminal is narrower."""
    grid = Grid(title=Text(printable(title), "bold"), title_justify="left", box=SIMPLE_HEAD, show_edge=False)
    grid.padding = (0, 1, 0, 0)
    for place, head in enumerate(heads):
        folded = "\n".join(textwrap.wrap(printable(head).replace(",", ", "), 9, break_long_words=False))
        grid.add_column(Text(folded), justify="right" if place else "left", no_wrap=True)
    for line in lines:
        grid.add_row(*map(Text, line))
    console = Console()
    console.width = max(console.width, Measurement.get(console, console.options.update(width=10_000), grid).maximum)
    console.print(grid)


def print_sentences(sentences: Sequence[str]) -> None:
    """Print sentences, a line each."""
    for sentence in sentences:
        Console().print(Text(printable(sentence)), soft_wrap=True)
