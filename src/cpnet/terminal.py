"""Terminal output: escaping of untrusted text, and progress bars."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from cpnet.errors import cut

T = TypeVar("T")

LONGEST = 2000  # characters of a line of a message
SHOWN_FROM = 500  # items; shorter work finishes before a bar can be read
# Control characters except line ends and tabs, characters that change the text direction, and lone surrogates
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    r"""Escape control characters, which could rename the terminal's window or fill its clipboard.

    >>> printable("a\x1b[31mb")
    'a\\x1b[31mb'
    """
    return _CONTROL.sub(lambda found: ascii(found[0])[1:-1], text)


def one_line(text: str) -> str:
    r"""Return untrusted text as one line without control characters.

    >>> one_line("she\nopens\x07 it")
    'she opens\\x07 it'
    """
    return printable(" ".join(text.split()))


def clock(seconds: float) -> str:
    """Return a time as players show it.

    >>> clock(62.44), clock(3723.96)
    ('1:02.4', '1:02:04.0')
    """
    minutes, tenths = divmod(round(seconds * 10), 600)
    hours, minutes = divmod(minutes, 60)
    return f"{f'{hours}:{minutes:02}' if hours else minutes}:{tenths // 10:02}.{tenths % 10}"


def brief(text: str) -> str:
    """Cut each line that is far longer than any message needs to be: it quotes a file or a value at length."""
    return "\n".join(cut(line, LONGEST) for line in text.split("\n"))


class PrintableRecord(logging.LogRecord):
    """Log record whose message is escaped and cut, because names and values may come from untrusted files."""

    def getMessage(self) -> str:  # noqa: N802  # the standard library's name
        """Return the escaped and cut message."""
        return printable(brief(super().getMessage()))


def track(items: Sequence[T], what: str) -> Iterable[T]:
    """Yield the items; show a progress bar on stderr if they are many."""
    if len(items) < SHOWN_FROM:
        yield from items
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import Progress as Bars

    with Bars(console=Console(stderr=True), transient=True) as bars:
        yield from bars.track(items, description=escape(printable(what)))


def print_moments(title: str, moments: Iterable[tuple[str, float, float, float]]) -> None:
    """Print a table of names, starts and ends in seconds, and scores."""
    from rich.box import HEAVY_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    grid = Table("", title=Text(printable(title), "bold"), title_justify="left", box=HEAVY_HEAD)
    for head in ("start", "end", "score"):
        grid.add_column(head, justify="right", no_wrap=True)
    for name, start, end, score in moments:
        grid.add_row(Text(printable(name)), clock(start), clock(end), f"{score:.2f}")
    Console().print(grid)


@contextmanager
def seconds_bar(what: str, total: float) -> Iterator[Callable[[float], None]]:
    """Show a progress bar over seconds of video on stderr, if it is a terminal; yield what moves it to a second."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    text = TextColumn("{task.description} {task.completed:.0f} of {task.total:.0f} s of video", markup=False)
    console = Console(stderr=True)
    columns = (text, BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        task = bars.add_task(what, total=total)
        yield lambda second: bars.update(task, completed=second)
