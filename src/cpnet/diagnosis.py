"""An inspection of a feature pack as a table, as ``inspect.json`` and as a picture."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cpnet.data.atomic import replacing
from cpnet.data.features.inspection import Inspection
from cpnet.data.features.source import quote
from cpnet.printing import printable
from cpnet.results import write_json

SHOWN = 3  # names in a cell of the table; inspect.json has them all
COUNTED = {  # rows that are counted, by attribute of VideoStatistics
    "not_finite": "rows with NaN or infinity",
    "zero": "rows of zeros",
    "constant": "constant rows",
    "repeated": "rows that repeat the one before",
}


def publish(inspection: Inspection, folder: Path, *, console: Console | None = None) -> None:
    """Write inspect.json and inspect.png, and print the table."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "inspect.json", as_json(inspection))
    draw(inspection, folder / "inspect.png")
    console = console or Console()
    print_table(inspection, console=console)
    console.print(f"outputs: {folder}", soft_wrap=True, highlight=False, markup=False)


def as_json(inspection: Inspection) -> dict[str, Any]:
    """Give all that was found as plain containers, NaN as null, names of files that are no text with escapes."""
    videos = inspection.videos.values()
    report = {
        "pack": inspection.description,
        "layout": inspection.layout,
        "fingerprint": inspection.fingerprint,
        "looks_like": list(inspection.looks_like),
        "differs_from": list(inspection.but),
        "videos": len(inspection.videos),
        "rows": sum(video.rows for video in videos),
        "widths": {str(width): count for width, count in inspection.widths().items()},
        "dtypes": dict(inspection.dtypes()),
        "rows_per_second": _spread([*inspection.rates.values()]),
        "norm": _spread([video.norm for video in videos]),
        "values": {
            "least": _finite(min((v.least for v in videos if not math.isnan(v.least)), default=math.nan)),
            "most": _finite(max((v.most for v in videos if not math.isnan(v.most)), default=math.nan)),
        },
        "coverage": {split: asdict(covered) for split, covered in inspection.coverage.items()},
        "surplus": list(inspection.surplus),
        "unreadable": inspection.unreadable,
        "unusual_rates": inspection.unusual(),
        "short": inspection.short(),
        "counts": {attribute: inspection.named(attribute) for attribute in COUNTED},
        "shared": {splits: list(names) for splits, names in inspection.shared.items()},
        "near_duplicates": [list(pair) for pair in inspection.near_duplicates],
        "annotations": [asdict(report) for report in inspection.annotations],
        "problems": inspection.problems(),
    }
    return {key: _as_text(value) for key, value in report.items()}


def print_table(inspection: Inspection, *, console: Console) -> None:
    """Print what the pack is, what is unusual in it, and what keeps a model from being trained on it."""
    report = as_json(inspection)
    table = Table(title="feature pack", title_justify="left", show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")

    def add(name: str, value: object) -> None:
        table.add_row(name, Text(printable(_as_text(str(value)))))

    add("pack", report["pack"])
    add("fingerprint", report["fingerprint"] or "none: some videos cannot be read, or widths differ")
    for name in inspection.looks_like or ["no published pack that we know"]:
        add("looks like", name)
    for line in inspection.but if not inspection.looks_like else ():
        add("close to", line)
    add("videos, rows", f"{report['videos']}, {report['rows']}")
    add("width", _counts(report["widths"]))
    add("type", _counts(report["dtypes"]))
    add("rows a second", _spread_text(report["rows_per_second"]))
    add("unusual rates", _named(inspection.unusual(), "{:.2f}"))
    add("norm of a row", _spread_text(report["norm"]))
    add("values", "{least} to {most}".format(**{k: _number(v) for k, v in report["values"].items()}))
    for attribute, name in COUNTED.items():
        found = inspection.named(attribute)
        add(name, f"{sum(found.values())} in {_named(found)}" if found else "none")
    add("videos below 2 rows", _named(inspection.short()))
    add("unreadable videos", _named(inspection.unreadable))
    for split, covered in inspection.coverage.items():
        there = covered.videos - len(covered.missing_videos)
        missing = f"; missing: {quote(covered.missing_videos)}" if covered.missing_videos else ""
        pairs = f"{covered.pairs - covered.missing_pairs} of {covered.pairs} pairs"
        add(f"coverage of {split}", f"{there} of {covered.videos} videos, {pairs}{missing}")
    add(
        "videos of no split",
        f"{len(inspection.surplus)}: {quote(inspection.surplus)}" if inspection.surplus else "none",
    )
    for splits, names in inspection.shared.items():
        add("in two splits", f"{splits}: {len(names)} videos")
    duplicates = [f"{a} ({one}) ~ {b} ({other})" for one, a, other, b, _ in inspection.near_duplicates]
    add("near-duplicates", f"{len(duplicates)}: {', '.join(duplicates[:SHOWN])}" if duplicates else "none")
    for cleaning in inspection.annotations:
        add("annotations", cleaning.describe())
    console.print(table)
    for problem in report["problems"]:
        console.print(Text.assemble(("problem:", "bold red"), f" {printable(problem)}"), soft_wrap=True)
    if not report["problems"]:
        console.print("no problem: every video of every split has finite features of the right width")


def draw(inspection: Inspection, path: Path) -> None:
    """Draw rows a second, norms and coverage side by side."""
    from matplotlib.figure import Figure

    # Not pyplot, which would look for a display and keep the figure.
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    rates, norms, bars = figure.subplots(1, 3)
    mean_norms = [video.norm for video in inspection.videos.values()]
    for axes, values, title, label in (
        (rates, [*inspection.rates.values()], "rows a second", "rows / duration"),
        (norms, mean_norms, "norm of a row", "mean L2 norm of a video's rows"),
    ):
        # Values that differ by rounding alone cannot be told apart by 50 bins, which numpy refuses.
        finite = [float(f"{value:.6g}") for value in values if math.isfinite(value)]
        if finite:
            axes.hist(finite, bins=50, color="tab:blue")
            axes.axvline(float(np.median(finite)), color="black", linewidth=1, label=f"median {np.median(finite):.3g}")
            axes.legend()
        axes.set(title=title, xlabel=label, ylabel="videos")
    splits = list(inspection.coverage)
    there = [1 - len(c.missing_videos) / max(c.videos, 1) for c in inspection.coverage.values()]
    bars.bar(splits, there, color=["tab:green" if share == 1 else "tab:red" for share in there])
    for split, share, covered in zip(splits, there, inspection.coverage.values(), strict=True):
        text = f"{covered.videos - len(covered.missing_videos)}\nof {covered.videos}"
        bars.text(split, share / 2, text, ha="center", va="center")
    bars.set(title="coverage", ylabel="share of videos with features", ylim=(0, 1.02))
    # Not matplotlib's own wrapping, which takes $ in a path for the start of a formula.
    figure.suptitle(textwrap.fill(_as_text(inspection.description), 180), fontsize="small", parse_math=False)
    with replacing(path) as stream:
        figure.savefig(stream, format="png", dpi=120)


def _spread(values: list[float]) -> dict[str, float | None]:
    finite = [value for value in values if math.isfinite(value)]
    places = {"least": 0, "p5": 5, "median": 50, "p95": 95, "most": 100}
    return {name: float(np.percentile(finite, place)) if finite else None for name, place in places.items()}


def _spread_text(spread: Mapping[str, float | None]) -> str:
    if spread["median"] is None:
        return "unknown"
    named = {name: _number(value) for name, value in spread.items()}
    return "{median} (5 to 95 %: {p5} to {p95}; all: {least} to {most})".format(**named)


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} ({count} videos)" if len(counts) > 1 else name for name, count in counts.items()) or "-"


def _named(found: Mapping[str, Any], form: str = "{}") -> str:
    shown = ", ".join(f"{name} ({form.format(value)})" for name, value in list(found.items())[:SHOWN])
    return f"{len(found)} videos: {shown}{', ...' if len(found) > SHOWN else ''}" if found else "none"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _as_text(value: Any) -> Any:
    """Escape what neither a terminal nor a JSON file can hold: bytes of names of files that are not UTF-8."""
    if isinstance(value, str):
        return value.encode(errors="backslashreplace").decode()
    if isinstance(value, Mapping):
        return {_as_text(name): _as_text(each) for name, each in value.items()}
    return [_as_text(each) for each in value] if isinstance(value, list | tuple) else value
