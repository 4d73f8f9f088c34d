"""Picture of the breakdown: mean IoU by group of pairs, a panel an attribute."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cpnet.evaluation.breakdown import Group
from cpnet.reporting.breakdown import Broken
from cpnet.reporting.figures.style import PLAIN, line_style, row_label
from cpnet.terminal import printable

FEWEST = 10  # minimum number of pairs of a drawn group
COLUMNS = 4  # panels side by side


def figure(broken: Broken, title: str = "") -> Figure:
    """Draw the mIoU of each group of each row with its 95 % interval, and that of the best constant in grey.

    Raises:
        ValueError: there are no rows
    """
    if not broken.rows:
        raise ValueError("no rows")
    with rc_context(PLAIN):
        made = _figure(broken)
        if title:
            made.suptitle(printable(title), fontsize="medium")
    return made


def _figure(broken: Broken) -> Figure:
    rows, constant = broken.rows, broken.constant
    attributes = next(iter(rows.values()))
    lines = -(-(len(attributes) + 1) // COLUMNS)  # one place is for the legend
    made = Figure(figsize=(3.4 * COLUMNS, 3.2 * lines + 0.4))
    room = {"left": 0.045, "right": 0.995, "bottom": 0.11, "top": 0.89, "wspace": 0.06, "hspace": 0.4}  # fast to draw
    panels = made.subplots(lines, COLUMNS, sharey=True, squeeze=False, gridspec_kw=room).ravel()
    for axes, (attribute, groups) in zip(panels, attributes.items(), strict=False):
        for name, each in constant.items():
            _draw(axes, each[attribute], 0.0, color="0.6", linewidth=1.2, linestyle="--", label=row_label(name))
        for place, (name, each) in enumerate(rows.items()):
            shift = 0.5 * (place + 0.5) / len(rows) - 0.25
            _draw(axes, each[attribute], shift, marker="o", markersize=3.5, linewidth=1.2, **line_style(place, name))
        shown = [f"{name}\n{group.pairs}" for name, group in groups.items()]
        axes.set_xticks(range(len(groups)), shown, fontsize=7 if len(groups) < 6 else 6)
        axes.set_title(attribute, fontsize="medium")
        axes.set_xlim(-0.5, len(groups) - 0.5)
        axes.grid(axis="y", color="0.9", linewidth=0.8)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in panels[len(attributes) :]:
        axes.axis("off")
    for axes in panels[::COLUMNS]:
        axes.set_ylabel("mIoU (per cent)")
    panels[0].set_ylim(bottom=0)
    drawn = [*panels[0].lines]
    handles = [*drawn[len(constant) :], *drawn[: len(constant)]]
    many = len(handles) > 12
    look = {"fontsize": "xx-small" if many else "small", "ncols": 1 + many, "frameon": False}
    panels[len(attributes)].legend(handles=handles, loc="upper left", **look)
    note = "below each group: its pairs; bars: 95 % intervals over pairs; groups of fewer than"
    made.text(0.5, 0.01, f"{note} {FEWEST} pairs are not drawn", ha="center", fontsize="small")
    return made


def _draw(axes: Axes, groups: Mapping[str, Group], shift: float, **style: object) -> None:
    """Draw the means of the groups with enough pairs as one line, with intervals if it has markers."""
    found = [(place, *each.metrics["mIoU"]) for place, each in enumerate(groups.values()) if each.pairs >= FEWEST]
    place, mean, low, high = np.array(found, np.float64).reshape(-1, 4).T
    axes.plot(place + shift, mean, **style)  # type: ignore[arg-type]
    if "marker" in style:
        axes.vlines(place + shift, low, high, color=str(style["color"]), linewidth=1.2, alpha=0.6)
