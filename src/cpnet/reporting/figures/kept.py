"""Picture of a kept table: each row's metrics with their intervals and seeds, and its cost of training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cpnet.evaluation.names import printed_name
from cpnet.reporting.figures.style import BLUE, plain, wrapped

METRICS = ("R1@0.5", "R1@0.7", "mIoU")
COSTS = ("training (CPU min)", "training (min)")
LETTERS = 34  # of a row's name in a line
LABEL = "dot: mean over seeds; ring: a seed; bar: 95 % interval over test pairs; dashed: the best trivial predictor"


def draw(content: Mapping[str, Any]) -> Figure:
    """Draw the content of a kept table's file: a row a line, a metric a panel.

    Raises:
        KeyError, TypeError: the content is not that of a kept table
    """
    rows = content["rows"]
    names = [wrapped(row["name"], LETTERS, 2) for row in rows]
    metrics = [key for key in METRICS if all(key in row["metrics"] for row in rows)]
    costs = [head for head in COSTS if len({row["model"] for row in rows}) > 1 and _costs(rows, head)][:1]
    panels = len(metrics) + len(costs)
    with rc_context({"text.parse_math": False, "font.size": 8}):  # a $ in a name does not start a formula
        size = (1.9 + 1.9 * panels, 0.95 + 0.24 * sum(map(len, names)))
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots(1, panels, sharey=True, squeeze=False)[0]
        for panel, key in zip(axes, metrics, strict=False):
            _draw_metric(panel, key, rows, content.get("references", {}))
        for panel, head in zip(axes[len(metrics) :], costs, strict=True):
            panel.barh(range(len(rows)), [cost or 0 for cost in _costs(rows, head)], height=0.4, color="0.6")
            panel.set_title(head, fontsize="medium")
        axes[0].set_yticks(range(len(rows)), ["\n".join(lines) for lines in names])
        axes[0].set_ylim(len(rows) - 0.5, -0.5)
        title = f"{content['experiment'] or 'runs'}: {content['dataset']}, {content['pairs']:,} pairs, per cent"
        figure.suptitle(plain(title), fontsize="medium", x=0.01, ha="left")
        figure.supxlabel(LABEL, fontsize="small", x=0.01, ha="left")
    return figure


def _draw_metric(axes: Axes, key: str, rows: Sequence[Mapping[str, Any]], references: Mapping[str, Any]) -> None:
    trivial = [metrics[key] for name, metrics in references.items() if not name.startswith("the paper's")]
    if trivial:
        axes.axvline(max(trivial), color="0.5", linestyle="--", linewidth=0.8)
    for place, row in enumerate(rows):
        of = row["metrics"][key]
        axes.plot([of["low"], of["high"]], [place, place], color=BLUE, linewidth=2.5, solid_capstyle="butt")
        if len(of["values"]) > 1:
            axes.plot(of["values"], [place] * len(of["values"]), "o", color=BLUE, markerfacecolor="white", markersize=3)
        axes.plot(of["mean"], place, "o", color=BLUE, markersize=5)
    axes.set_title(printed_name(key), fontsize="medium")
    axes.grid(axis="x", color="0.9")
    axes.set_axisbelow(True)


def _costs(rows: Sequence[Mapping[str, Any]], head: str) -> list[float | None]:
    """Return the cost of each row, None for one without; empty if no row has it."""
    costs = [row.get("cost", {}).get(head) for row in rows]
    return costs if any(cost is not None for cost in costs) else []
