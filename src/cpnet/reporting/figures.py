"""Pictures of a table: recall, IoU, what is hard, training, and the differences to the baseline."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from cpnet import spans
from cpnet.data.atomic import replacing
from cpnet.metrics.functional import meets
from cpnet.reporting.tables import ON_TEST, Row, Table

Floats = NDArray[np.float64]
# Okabe and Ito's colours, told apart by the colour-blind; yellow is too pale for a line on white.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000")
DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (6, 2, 1, 2)), (0, (3, 1)))
THRESHOLDS = [percent / 100 for percent in range(5, 100, 5)]
BINS = 10
FEWEST = 10  # pairs that a mean of a bin is drawn of


def draw(table: Table, folder: Path, *, prefix: str = "") -> dict[str, str]:
    """Draw a table's pictures into a folder; return their files by title."""
    pictures: dict[str, tuple[str, Callable[[Table], Figure]]] = {
        "R@1 against the threshold": ("recall", recall),
        "IoU of the predictions": ("iou", iou_histogram),
        "IoU against length and position of the moment": ("moments", moments),
    }
    if any(run.curves for row in table.rows for run in row.runs):
        pictures["training curves"] = ("training", training)
    if len(table.rows) > 1:
        pictures["differences in mIoU"] = ("differences", differences)
    files = {}
    for title, (name, make) in pictures.items():
        figure = make(table)
        of = table.protocol["dataset"] if make is training else table.title.removesuffix(" (per cent)")
        of = f"{of}, CHOSEN ON TEST" if table.protocol["selection"] == ON_TEST else of
        # Not matplotlib's own titles, which take $ in a name for the start of a formula.
        figure.suptitle(f"{title}: {of}", fontsize="medium", parse_math=False)
        files[title] = f"{prefix}{name}.png"
        with replacing(folder / files[title]) as stream:
            figure.savefig(stream, format="png", dpi=120)
    return files


def recall(table: Table) -> Figure:
    """R@1 of each row over thresholds, mean over seeds; the trivial predictors in grey."""
    figure, (axes,) = _panels(table, 1)
    strict = bool(table.protocol["strict"])

    def curve(iou: Floats) -> list[float]:
        scores = torch.from_numpy(iou)
        return [100 * float(meets(scores, m, strict=strict).double().mean()) for m in THRESHOLDS]

    for row, style in _styled(table):
        axes.plot(THRESHOLDS, np.mean([curve(run.iou) for run in row.runs], axis=0), **style)
    true = torch.from_numpy(table.rows[0].runs[0].true)
    for reference, dash in zip(table.trivial, DASHES[1:], strict=False):
        iou = spans.iou(torch.tensor(reference.span, dtype=torch.float64), true).numpy()
        axes.plot(THRESHOLDS, curve(iou), color="0.6", linestyle=dash, linewidth=1, label=_wrapped(reference.name))
    axes.set(
        xlabel=f"IoU threshold m ({'>' if strict else '>='} m)", ylabel="R@1 (per cent)", xlim=(0, 1), ylim=(0, 100)
    )
    return _legend(figure, axes)


def iou_histogram(table: Table) -> Figure:
    """Share of pairs by IoU, a panel a row, with the baseline's outline behind."""
    columns = min(4, len(table.rows))
    lines = -(-len(table.rows) // columns)
    figure = Figure(figsize=(2 + 2.6 * columns, 1.2 + 2.1 * lines), layout="constrained")
    panels = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False).ravel()
    edges = np.linspace(0, 1, 21)

    def shares(row: Row) -> Floats:
        counts = [np.histogram(run.iou, bins=edges)[0] / len(run.iou) for run in row.runs]
        return np.asarray(100 * np.mean(counts, axis=0))

    base = next(row for row in table.rows if row.name == table.baseline)
    for axes, row in zip(panels, table.rows, strict=False):
        axes.stairs(shares(row), edges, fill=True, color=COLOURS[0])
        if row is not base:
            axes.stairs(shares(base), edges, color="black", linewidth=1)
        axes.set_title(_wrapped(row.name, 32), fontsize="small", parse_math=False)
    for axes in panels[len(table.rows) :]:
        axes.set_axis_off()
    for axes in panels[max(0, len(table.rows) - columns) : len(table.rows)]:  # the lowest of each column
        axes.tick_params(labelbottom=True)
    figure.supxlabel("IoU" + (f" (outline: {table.baseline})" if len(table.rows) > 1 else ""), parse_math=False)
    figure.supylabel("pairs (per cent)")
    return figure


def moments(table: Table) -> Figure:
    """Mean IoU of each row by length and by centre of the true moment; how many pairs a bin has in grey."""
    figure, panels = _panels(table, 2)
    true = table.rows[0].runs[0].true
    edges = np.linspace(0, 1, BINS + 1)
    for axes, values, label in (
        (panels[0], true[:, 1] - true[:, 0], "length of the moment (share of the video)"),
        (panels[1], true.mean(axis=1), "centre of the moment (share of the video)"),
    ):
        bins = np.clip(np.digitize(values, edges) - 1, 0, BINS - 1)
        counts = np.bincount(bins, minlength=BINS)
        axes.bar(edges[:-1], 100 * counts / counts.sum(), 1 / BINS, align="edge", color="0.9", label="pairs (per cent)")
        fewest = min(FEWEST, counts.max())
        enough = counts >= fewest
        for row, style in _styled(table):
            iou = np.mean([run.iou for run in row.runs], axis=0)
            means = 100 * np.bincount(bins, weights=iou, minlength=BINS)[enough] / counts[enough]
            axes.plot((edges[:-1] + 0.5 / BINS)[enough], means, marker="o", markersize=3, **style)
        few = "" if enough[counts > 0].all() else f"\nno dot: fewer than {fewest} pairs"
        axes.set(xlabel=f"{label}{few}", ylabel="mean IoU; pairs (per cent)", xlim=(0, 1), ylim=(0, 100))
    return _legend(figure, panels[0])


def training(table: Table) -> Figure:
    """Loss and validation mIoU by epoch: mean over seeds and one standard deviation, as far as all seeds went."""
    figure, panels = _panels(table, 2)
    for axes, column, label in (
        (panels[0], "train/loss", "training loss"),
        (panels[1], "val/mIoU", "validation mIoU (per cent)"),
    ):
        for row, style in _styled(table):
            curves = [run.curves[column] for run in row.runs if run.curves.get(column)]
            epochs = np.array(sorted(set(curves[0]).intersection(*curves)) if curves else [], int)
            values = np.array([[curve[epoch] for epoch in epochs] for curve in curves]).reshape(
                len(curves), len(epochs)
            )
            epochs += 1
            mean = values.mean(axis=0) if curves else np.empty(0)
            axes.plot(epochs, mean, marker="o" if len(epochs) == 1 else None, **style)
            if len(curves) > 1:
                sd = values.std(axis=0, ddof=1)
                axes.fill_between(epochs, mean - sd, mean + sd, color=style["color"], alpha=0.12, linewidth=0)
        band = "; shaded: one standard deviation over seeds" if any(len(row.runs) > 1 for row in table.rows) else ""
        axes.set(xlabel=f"epoch{band}", ylabel=label)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if axes.dataLim.width == 0:  # one epoch
            axes.set_xticks([axes.dataLim.x0])
    return _legend(figure, panels[0])


def differences(table: Table) -> Figure:
    """Difference of each row's mIoU to the baseline's, with its intervals; hollow where 0 lies within one of them."""
    rows = [row for row in table.rows if row.name != table.baseline]
    lines = sum(_wrapped(row.name).count("\n") for row in rows)
    figure = Figure(figsize=(8, 1.8 + 0.42 * len(rows) + 0.17 * lines), layout="constrained")
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
    # The intervals over two or three seeds may be wider than any picture.
    room = 1.5 * (max(ends) - min(ends)) or 1.0
    axes.set_xlim(min(ends) - room, max(ends) + room)
    axes.set_yticks(range(len(rows)), [_wrapped(row.name) for row in rows], parse_math=False)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    label = f"mIoU minus that of {table.baseline}; 95 % intervals: thick over test pairs, thin over seeds"
    figure.supxlabel(textwrap.fill(f"{label} (hollow: 0 lies within)", 100), parse_math=False, fontsize="small")
    return figure


def _panels(table: Table, panels: int) -> tuple[Figure, list[Axes]]:
    """Make a figure that has room for the legend below."""
    lines = sum(_wrapped(row.name).count("\n") + 1 for row in table.rows)
    height = 4.2 + 0.11 * (lines + 4)
    figure = Figure(figsize=(7.5 if panels == 1 else 11, height), layout="constrained")
    return figure, [*figure.subplots(1, panels, squeeze=False)[0]]


def _styled(table: Table) -> list[tuple[Row, dict[str, Any]]]:
    """Give each row a colour, and another dash when the colours begin again."""
    return [
        (row, {"color": COLOURS[place % 7], "linestyle": DASHES[place // 7 % 5], "label": _wrapped(row.name)})
        for place, row in enumerate(table.rows)
    ]


def _legend(figure: Figure, axes: Axes) -> Figure:
    handles, labels = axes.get_legend_handles_labels()
    columns = 2 if len(labels) > 3 else 1
    legend = figure.legend(handles, labels, loc="outside lower center", ncols=columns, fontsize="small", frameon=False)
    for text in legend.get_texts():
        text.set_parse_math(False)
    return figure


def _wrapped(name: str, width: int = 48) -> str:
    lines = textwrap.wrap(name, width) or [""]
    return "\n".join([*lines[:3], *(["..."] if len(lines) > 3 else [])])
