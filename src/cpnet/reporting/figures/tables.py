"""Pictures of a table: recall, IoU, IoU by moment, training curves, differences to the baseline, and cost."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator

from cpnet.evaluation.functional import Floats, iou, meets
from cpnet.evaluation.protocol import Selection
from cpnet.reporting.figures import breakdown
from cpnet.reporting.figures.style import COLOURS, DASHES, PLAIN, line_style, row_label, save
from cpnet.reporting.statistics import over_seeds
from cpnet.reporting.tables import Row, Table
from cpnet.terminal import printable

THRESHOLDS = [percent / 100 for percent in range(5, 100, 5)]


def draw(table: Table, folder: Path, *, prefix: str = "") -> dict[str, str]:
    """Draw a table's pictures into a folder, and return the file names by title."""
    pictures: dict[str, tuple[str, Callable[[Table], Figure]]] = {
        "R@1 against the threshold": ("recall", recall),
        "IoU of the predictions": ("iou", iou_histogram),
        "mIoU by group of pairs": ("breakdown", lambda table: breakdown.figure(table.broken)),
    }
    if any(run.curves for row in table.rows for run in row.runs):
        pictures["training curves"] = ("training", training)
    if len(table.rows) > 1:
        pictures["differences in mIoU"] = ("differences", differences)
    if _prices(table):
        pictures["mIoU against cost"] = ("cost", cost)
    files = {}
    with rc_context(PLAIN):
        for title, (name, make) in pictures.items():
            figure = make(table)
            subject = table.protocol.dataset if make is training else table.title.removesuffix(" (per cent)")
            warning = ", CHOSEN ON TEST" if table.protocol.selection is Selection.TEST else ""
            figure.suptitle(printable(f"{title}: {subject}{warning}"), fontsize="medium")
            files[title] = f"{prefix}{name}.png"
            save(figure, folder / files[title])
    return files


def recall(table: Table) -> Figure:
    """Draw R@1 of each row by threshold, mean over seeds, and the trivial predictors in grey."""
    figure, (axes,) = _panels(table, 1)
    strict = table.protocol.strict

    def curve(scores: Floats) -> list[float]:
        return [100 * float(meets(scores, m, strict=strict).mean()) for m in THRESHOLDS]

    for row, style in _styled(table):
        axes.plot(THRESHOLDS, np.mean([curve(run.scores["mIoU"]) for run in row.runs], axis=0), **style)
    windows = table.rows[0].runs[0].windows
    for (name, trivial), dash in zip(table.results.trivial.items(), DASHES[1:], strict=False):
        axes.plot(
            THRESHOLDS,
            curve(iou(trivial.span, windows).max(axis=1)),
            color="0.6",
            linestyle=dash,
            linewidth=1,
            label=row_label(name),
        )
    label = f"IoU threshold m ({'>' if strict else '>='} m)"
    axes.set(xlabel=label, ylabel="R@1 (per cent)", xlim=(0, 1), ylim=(0, 100))
    return _legend(figure, axes)


def iou_histogram(table: Table) -> Figure:
    """Draw the share of pairs of each row by IoU, mean over seeds."""
    figure, (axes,) = _panels(table, 1)
    edges = np.linspace(0, 1, 21)
    for row, style in _styled(table):
        counts = np.mean([np.histogram(run.scores["mIoU"], bins=edges)[0] for run in row.runs], axis=0)
        axes.stairs(100 * counts / table.results.pairs, edges, **style)
    axes.set(xlabel="IoU", ylabel="pairs (per cent)", xlim=(0, 1))
    return _legend(figure, axes)


def training(table: Table) -> Figure:
    """Draw loss and validation mIoU by epoch: mean and one standard deviation over seeds, for epochs of all seeds."""
    figure, panels = _panels(table, 2)
    for axes, column, label in (
        (panels[0], "train/loss", "training loss"),
        (panels[1], "val/mIoU", "validation mIoU (per cent)"),
    ):
        for row, style in _styled(table):
            curves = pd.DataFrame([run.curves.get(column, {}) for run in row.runs], dtype=float).dropna(axis=1).T
            if curves.empty:  # a run without metrics.csv
                continue
            epochs, mean, sd = curves.index + 1, curves.mean(axis=1), curves.std(axis=1)
            axes.plot(epochs, mean, marker="o" if len(epochs) == 1 else None, **style)
            axes.fill_between(epochs, mean - sd, mean + sd, color=style["color"], alpha=0.12, linewidth=0)
        axes.set(xlabel="epoch; shaded: one standard deviation over seeds", ylabel=label)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return _legend(figure, panels[0])


def differences(table: Table) -> Figure:
    """Draw each row's mIoU minus the baseline's, with its intervals; a hollow dot if one of them contains 0."""
    rows = [row for row in table.rows if row.name != table.baseline]
    figure = Figure(figsize=(8, 1.8 + 0.6 * len(rows)), layout="constrained")
    axes = figure.subplots()
    axes.axvline(0, color="0.5", linewidth=1)
    ends = [0.0]
    for place, row in enumerate(rows):
        of = row.estimates["mIoU"].difference
        assert of is not None
        if of.seeds:
            axes.plot(of.seeds, [place, place], color=COLOURS[0], linewidth=0.7)
        axes.plot([of.low, of.high], [place, place], color=COLOURS[0], linewidth=3)
        axes.plot(of.mean, place, "o", color=COLOURS[0], markerfacecolor=COLOURS[0] if of.clear else "white")
        ends += [of.low, of.high]
    # The axis fits the intervals over pairs, because those over two or three seeds may be very wide.
    room = 1.5 * (max(ends) - min(ends)) or 1.0
    axes.set_xlim(min(ends) - room, max(ends) + room)
    axes.set_yticks(range(len(rows)), [row_label(row.name) for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    label = f"mIoU minus that of {printable(table.baseline)}; 95 % intervals: thick over test pairs, thin over seeds"
    figure.supxlabel(textwrap.fill(f"{label} (hollow: 0 lies within)", 100), fontsize="small")
    return figure


def cost(table: Table) -> Figure:
    """Draw each row's mIoU against its costs, with the 95 % t interval over seeds; rows without a cost are left out."""
    heads = _prices(table)
    figure, panels = _panels(table, len(heads))
    for axes, head in zip(panels, heads, strict=True):
        for (row, style), marker in zip(_styled(table), itertools.cycle("oooooooDDDDDDD")):
            estimate, price = row.estimates["mIoU"], row.cost(head)
            if price:  # the axis is logarithmic
                low, high = over_seeds(estimate.values) or (estimate.mean, estimate.mean)
                axes.plot([price, price], [low, high], color=style["color"], linewidth=1)
                axes.plot(price, estimate.mean, marker, color=style["color"])
                beside = {"xytext": (6, 4), "textcoords": "offset points", "fontsize": "small", "color": style["color"]}
                axes.annotate(row_label(row.name), (price, estimate.mean), **beside)
        axes.set(xscale="log", xlabel=f"{head}; bars: 95 % intervals over seeds", ylabel="mIoU (per cent)")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.minorticks_off()
        axes.margins(x=0.45)  # room for the names
    return figure


def _prices(table: Table) -> list[str]:
    """Return the heads of the costs to draw."""
    training = "training (CPU min)" if table.results.device == "cpu" else "training (min)"
    return [head for head in table.costs if head in ("GFLOP a pair", training)]


def _panels(table: Table, panels: int) -> tuple[Figure, list[Axes]]:
    """Return a figure with room for a legend below."""
    height = 4.6 + 0.15 * len(table.rows)
    figure = Figure(figsize=(7.5 if panels == 1 else 11, height), layout="constrained")
    return figure, [*figure.subplots(1, panels, squeeze=False)[0]]


def _styled(table: Table) -> list[tuple[Row, dict[str, Any]]]:
    return [(row, line_style(place, row.name)) for place, row in enumerate(table.rows)]


def _legend(figure: Figure, axes: Axes) -> Figure:
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, fontsize="small", frameon=False)
    return figure
