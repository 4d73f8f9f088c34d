"""Colours, lines and sizes of figures, and files of a figure: PNG, SVG, and its numbers as CSV."""

from __future__ import annotations

import re
import textwrap
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

from cpnet.files import replacing
from cpnet.reporting.spreadsheets import to_csv
from cpnet.terminal import one_line

# Okabe and Ito's colours, which the colour-blind distinguish
BLUE, ORANGE, GREEN, PINK, SKY, VERMILION = "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00"
PALE_ORANGE = "#F5D899"
COLOURS = (BLUE, ORANGE, GREEN, PINK, SKY, VERMILION, "#000000")  # of lines; no yellow, which is too pale on white
DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (6, 2, 1, 2)), (0, (3, 1)))
COLUMN = 3.35  # inches, the width of a column of a paper
FONT = 7.0  # points
DPI = 300
PLAIN: Any = {"text.parse_math": False}  # a $ in a name does not start a formula
COLUMN_STYLE: Any = {
    "font.size": FONT,
    "axes.titlesize": FONT,
    "axes.labelsize": FONT,
    "axes.linewidth": 0.5,
    "xtick.labelsize": FONT - 1,
    "ytick.labelsize": FONT - 1,
    "xtick.major.width": 0.5,
    "ytick.major.width": 0.5,
    "xtick.major.size": 2,
    "ytick.major.size": 2,
    "legend.fontsize": FONT - 1,
    "figure.titlesize": FONT,
    **PLAIN,
    "svg.hashsalt": "cpnet",  # equal figures are equal files
}
_NO_XML = re.compile("[\ufffe\uffff]")


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A figure drawn in ``COLUMN_STYLE``, its numbers, and its name, the stem of its files."""

    name: str
    figure: Figure
    numbers: Iterable[Mapping[str, Any]]


def plain(text: str) -> str:
    """Return untrusted text as one line of characters that XML allows."""
    return _NO_XML.sub("\N{REPLACEMENT CHARACTER}", one_line(text))


def wrapped(text: str, width: int, lines: int) -> list[str]:
    """Return untrusted text as at most ``lines`` lines of ``width`` characters."""
    return textwrap.wrap(plain(text), width, max_lines=lines, placeholder=" ...")


def row_label(name: str) -> str:
    """Return the name of a row in lines of at most 48 characters, at most three."""
    return "\n".join(wrapped(name, 48, 3))


def line_style(place: int, name: str) -> dict[str, Any]:
    """Return the style of the line of a row: colours, then the same colours with other dashes."""
    return {"color": COLOURS[place % 7], "linestyle": DASHES[place // 7 % 5], "label": row_label(name)}


def write(drawn: Drawn, folder: Path) -> list[str]:
    """Write a figure as PNG and SVG, and its numbers as CSV; return the file names.

    Raises:
        OSError: a file cannot be written
    """
    names = [f"{drawn.name}.{suffix}" for suffix in ("png", "svg", "csv")]
    with rc_context(COLUMN_STYLE):
        save(drawn.figure, folder / names[0], dpi=DPI)
        save(drawn.figure, folder / names[1], dpi=DPI, metadata={"Date": None})
    with replacing(folder / names[2]) as stream:
        stream.write(to_csv(drawn.numbers).encode(errors="backslashreplace"))
    return names


def save(figure: Figure, path: Path, *, dpi: int = 120, metadata: Any = None) -> None:
    """Write a figure in the format of the path's suffix.

    Raises:
        OSError: the file cannot be written
    """
    with replacing(path) as stream, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # characters that the font lacks become boxes
        figure.savefig(stream, format=path.suffix[1:], dpi=dpi, metadata=metadata)
