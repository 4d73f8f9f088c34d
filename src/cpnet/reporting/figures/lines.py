"""Colours, dashes and labels of lines."""

from __future__ import annotations

import textwrap
from typing import Any

from cpnet.terminal import printable

# Okabe and Ito's colours for colour-blind readers, without yellow, which is too pale on white
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000")
DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (6, 2, 1, 2)), (0, (3, 1)))


def line_style(place: int, name: str) -> dict[str, Any]:
    """Return the style of the line of a row: colours, then the same colours with other dashes."""
    return {"color": COLOURS[place % 7], "linestyle": DASHES[place // 7 % 5], "label": wrapped(name)}


def wrapped(name: str) -> str:
    """Return a name in lines of at most 48 characters, at most three."""
    return textwrap.fill(printable(name), 48, max_lines=3, placeholder=" ...")
