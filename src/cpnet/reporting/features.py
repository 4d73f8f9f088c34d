"""Print the inspection of a feature pack, and write it as ``inspect.json`` and ``inspect.png``."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cpnet.data.features.inspection import Inspection
from cpnet.errors import quote
from cpnet.files import write_json
from cpnet.terminal import printable

SHOWN = 5  # names in a cell of the table; inspect.json has all
COUNTED = ("not_finite", "zero", "constant", "repeated", "padding")  # counts of rows, attributes of VideoStatistics


def publish(inspection: Inspection, folder: Path, *, console: Console | None = None) -> None:
    """Write inspect.json and inspect.png, and print the table."""
    folder.mkdir(parents=True, exist_ok=True)
    report, console = as_json(inspection), console or Console()
    write_json(folder / "inspect.json", report)
    draw(inspection, folder / "inspect.png")
    table = Table(title="feature pack", title_justify="left", show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _table_rows(inspection, report):
        table.add_row(name, Text(printable(_as_text(value))))
    console.print(table)
    for kind, style in (("problem", "bold red"), ("warning", "bold yellow")):
        for line in report[f"{kind}s"]:
            console.print(Text.assemble((f"{kind}:", style), f" {printable(line)}"), soft_wrap=True)
    if not report["problems"] and not report["warnings"]:
        console.print("no problem: all features found for the splits are finite and of the right width")
    console.print(f"outputs: {folder}", soft_wrap=True, highlight=False, markup=False)


def as_json(inspection: Inspection) -> dict[str, Any]:
    """Return all findings as plain containers, with NaN as None and undecodable file names escaped."""
    videos = inspection.videos.values()
    report = {
        "pack": inspection.description,
        "layout": inspection.layout,
        "fingerprint": inspection.fingerprint,
        "looks_like": inspection.looks_like,
        "differs_from": inspection.but,
        "videos": len(videos),
        "rows": sum(video.rows for video in videos),
        "widths": {str(width): count for width, count in inspection.counts("dim").items()},
        "dtypes": inspection.counts("dtype"),
        "rows_per_video": _spread(video.rows for video in videos),
        "rows_per_second": _spread(inspection.rates.values()),
        "norm": _spread(video.norm for video in videos),
        "least_value": _spread(video.least for video in videos)["least"],
        "most_value": _spread(video.most for video in videos)["most"],
        "coverage": {split: asdict(covered) for split, covered in inspection.coverage.items()},
        "surplus": inspection.surplus,
        "unreadable": inspection.unreadable,
        "unusual_rates": inspection.unusual(),
        "short": inspection.short(),
        "counts": {attribute: inspection.named(attribute) for attribute in COUNTED},
        "shared": inspection.shared,
        "annotations": [asdict(report) for report in inspection.annotations],
        "problems": inspection.problems(),
        "warnings": inspection.warnings(),
    }
    return {key: _as_text(value) for key, value in report.items()}


def _table_rows(inspection: Inspection, report: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    for key, value in report.items():
        if key not in ("counts", "coverage", "annotations", "problems", "warnings"):
            yield key.replace("_", " "), _shown(value)
    for key, value in report["counts"].items():
        yield f"{key.replace('_', ' ')} rows", _shown(value)
    for split, covered in inspection.coverage.items():
        found = covered.videos - len(covered.missing_videos)
        missing = f"; missing: {quote(covered.missing_videos)}" if covered.missing_videos else ""
        pairs = f"{covered.pairs - covered.missing_pairs} of {covered.pairs} pairs"
        yield f"coverage of {split}", f"{found} of {covered.videos} videos, {pairs}{missing}"
    for cleaning in inspection.annotations:
        yield "annotations", cleaning.describe()


def draw(inspection: Inspection, path: Path) -> None:
    """Draw histograms of rows per second and of norms."""
    from matplotlib.figure import Figure

    from cpnet.reporting.figures.style import save

    # Not pyplot, which looks for a display and keeps the figure.
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    rates, norms = figure.subplots(1, 2)
    mean_norms = [video.norm for video in inspection.videos.values()]
    for axes, values, label in (
        (rates, inspection.rates.values(), "rows / duration in seconds"),
        (norms, mean_norms, "mean L2 norm of a video's rows"),
    ):
        # Rounded, because numpy refuses 50 bins for values that differ by rounding errors alone.
        if finite := [float(f"{value:.6g}") for value in values if math.isfinite(value)]:
            axes.hist(finite, bins=50)
        axes.set(xlabel=label, ylabel="videos")
    # Wrapped here: matplotlib would take $ in a path as the start of a formula.
    figure.suptitle(textwrap.fill(_as_text(inspection.description), 120), fontsize="small", parse_math=False)
    save(figure, path)


def _spread(values: Iterable[float]) -> dict[str, float | None]:
    finite = [value for value in values if math.isfinite(value)]
    places = {"least": 0, "p5": 5, "median": 50, "p95": 95, "most": 100}
    return {name: float(np.percentile(finite, place)) if finite else None for name, place in places.items()}


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        value = [f"{name} ({_shown(each)})" for name, each in value.items()]
    if isinstance(value, list):
        more = f", ... ({len(value)} in all)" if len(value) > SHOWN else ""
        return ", ".join(value[:SHOWN]) + more or "none"
    return "unknown" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def _as_text(value: Any) -> Any:
    """Escape bytes of file names that are not UTF-8, which neither a terminal nor JSON can represent."""
    if isinstance(value, str):
        return value.encode(errors="backslashreplace").decode()
    if isinstance(value, Mapping):
        return {_as_text(name): _as_text(each) for name, each in value.items()}
    return [_as_text(each) for each in value] if isinstance(value, Sequence) else value
