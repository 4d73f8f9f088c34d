"""Picture of a kept table: each row's metrics with their intervals and seeds, and its cost of training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cpnet.evaluation.names import printed_name
from cpnet.reporting.figures.style import BLUE, PLAIN, wrapped

METRICS = ("R1@0.5", "R1@0.7", "mIoU")
# Usual conditions, which titles and indices do not name
USUAL = {"split": "test", "strict": False, "ground_truth": "clipped", "on_defect": "error", "missing": {}}
LETTERS = 34  # of a row's name in a line
INCH = 16  # letters of the title in an inch
LABEL = "dot: mean over seeds; ring: a seed; bar: 95 % interval over test pairs"


def draw(content: Mapping[str, Any]) -> Figure:
    """Draw the content of a kept table's file: a row a line, a metric a panel.

    Raises:
        KeyError, TypeError, ValueError: the content is not that of a kept table
    """
    rows = content["rows"]
    if not rows:
        raise ValueError("no rows")
    names = [wrapped(row["name"], LETTERS, 2) for row in rows]
    metrics = [key for key in METRICS if all(key in row["metrics"] for row in rows)]
    trivial = [of for name, of in content.get("references", {}).items() if not name.startswith("the paper's")]
    cost = _cost(rows)
    panels = len(metrics) + bool(cost)
    with rc_context({**PLAIN, "font.size": 8}):
        width = 1.9 + 1.9 * panels
        lines = wrapped(title(content), int(INCH * width), 3)
        label = wrapped(LABEL + "; dashed: the best trivial predictor" * bool(trivial), int(1.2 * INCH * width), 3)
        height = 0.7 + 0.15 * (len(lines) + len(label)) + 0.24 * sum(map(len, names))
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = figure.subplots(1, panels, sharey=True, squeeze=False)[0]
        for panel, key in zip(axes, metrics, strict=False):
            _draw_metric(panel, key, rows, [each[key] for each in trivial])
        if cost:
            _draw_cost(axes[-1], cost, [row.get("cost", {}).get(cost) for row in rows])
        axes[0].set_yticks(range(len(rows)), ["\n".join(each) for each in names])
        axes[0].set_ylim(len(rows) - 0.5, -0.5)
        figure.suptitle("\n".join(lines), fontsize="medium", x=0.01, ha="left")
        figure.supxlabel("\n".join(label), fontsize="small", x=0.01, ha="left")
    return figure


def title(content: Mapping[str, Any]) -> str:
    """Return experiment, corpus, number of pairs, and unusual conditions."""
    name, pairs = content["experiment"] or "runs", f"{content['pairs']:,} pairs"
    return f"{name}: {content['dataset']}{unusual(content)}, {pairs}, per cent"


def unusual(content: Mapping[str, Any]) -> str:
    """Return the conditions that differ from ``USUAL``, because rows of different protocols are not comparable."""
    rules = content["protocol"]
    texts = ["CHOSEN ON TEST"] * (rules["selection"] == "test")
    texts += [f"{key}={rules[key]}" for key, usual in USUAL.items() if rules.get(key, usual) != usual]
    return f" ({', '.join(texts)})" if texts else ""


def _draw_metric(axes: Axes, key: str, rows: Sequence[Mapping[str, Any]], trivial: Sequence[float]) -> None:
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


def _draw_cost(axes: Axes, head: str, costs: Sequence[float | None]) -> None:
    for place, cost in enumerate(costs):
        if cost is None:
            axes.annotate("unknown", (0, place), (3, 0), textcoords="offset points", va="center", fontsize="small")
        else:
            axes.barh(place, cost, height=0.4, color="0.6")
    axes.set_title(head, fontsize="medium")


def _cost(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the cost of training to draw: processor time of a run without a GPU; empty if no two models have it."""
    on_cpu = all(device == "cpu" for row in rows for device in row.get("device", ()))
    head = "training (CPU min)" if on_cpu else "training (min)"
    several = len({row["model"] for row in rows}) > 1
    return head if several and any(row.get("cost", {}).get(head) is not None for row in rows) else ""
