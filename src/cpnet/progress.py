"""How far long work is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.progress import Progress

SHOWN_FROM = 500  # fewer items are done before one could read it


def track(items: Sequence[str], what: str) -> Iterable[str]:
    """Give the items one by one, with a bar on the terminal that tells how many are left."""
    if len(items) < SHOWN_FROM:
        yield from items
        return
    with Progress(console=Console(stderr=True), transient=True) as bars:
        yield from bars.track(items, description=what)
