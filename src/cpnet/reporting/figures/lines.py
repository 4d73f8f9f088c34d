"""Colours, dashes and labels of lines."""

from __future__ import annotations

from typing import Any

from cpnet.reporting.figures import style
from cpnet.reporting.figures.style import BLUE, GREEN, ORANGE, PINK, SKY, VERMILION

COLOURS = (BLUE, ORANGE, GREEN, PINK, SKY, VERMILION, "#000000")  # no yellow, which is too pale on white
DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (6, 2, 1, 2)), (0, (3, 1)))


def line_style(place: int, name: str) -> dict[str, Any]:
    """Return the style of the line of a row: colours, then the same colours with other dashes."""
    return {"color": COLOURS[place % 7], "linestyle": DASHES[place // 7 % 5], "label": wrapped(name)}


def wrapped(name: str) -> str:
    """Return a name in lines of at most 48 characters, at most three."""
    return "\n".join(style.wrapped(name, 48, 3))
