"""Write the tables and the picture of README.md from the files of results, or print all tables of one file.

python benchmarks/tables.py [benchmarks/results/FILE.json]
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Iterator
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import matplotlib as mpl

from machine import table
from sections import number

FOLDER = Path(__file__).parent
HIDDEN = ("section", "part", "measured", "repeats")
COLOURS = ("#4c78a8", "#f58518")  # training, inference


def markdown(rows: Iterable[dict[str, Any]]) -> str:
    """Return rows with the same keys as a table."""
    shown = [{key: number(value) for key, value in row.items() if key not in HIDDEN} for row in rows]
    return table(list(shown[0]), [list(row.values()) for row in shown]) if shown else "not measured yet"


def everything(results: dict[str, Any]) -> Iterator[str]:
    """Yield the lines of all tables of a file."""
    yield f"# {results['machine']}"
    for (section, part, measured), rows in groupby(results["rows"], key=itemgetter("section", "part", "measured")):
        yield f"\n{section}: {part} ({measured})\n\n{markdown(rows)}"


def headline(kept: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the fastest form of each model, machine and precision, training beside inference."""
    found: dict[tuple[str, ...], dict[str, Any]] = {}
    for results in kept:
        for step in (row for row in results["rows"] if row["section"] == "steps" and row["form"] != "reference"):
            model, mode, precision = re.split(r", batch \d+: |, (?=fp32|bf16)", step["part"])
            key = {"model": model, "machine": results["machine"], "precision": precision}
            row = found.setdefault(tuple(key.values()), key)
            if step["pairs/s"] > row.get(f"{mode}, pairs/s", 0):
                row |= {f"{mode}, {name}": step[name] for name in ("pairs/s", "x reference", "% of peak")}
    return sorted(found.values(), key=itemgetter("model"))


def peers(kept: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of other models."""
    return [
        {"machine": results["machine"], **row}
        for results in kept
        for row in results["rows"]
        if row["section"] == "peers"
    ]


def draw(path: Path, rows: list[dict[str, Any]], others: list[dict[str, Any]]) -> None:
    """Draw the share of the machine's peak that a step reaches, and pairs a second beside other models."""
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(
        1, 2, figsize=(11, 0.4 * max(len(rows), len(others)) + 1), layout="constrained"
    )
    names = [f"{row['machine'].rpartition(',')[0]}\n{row['model'].split(',')[0]}, {row['precision']}" for row in rows]
    models = [f"{row['machine'].rpartition(',')[0]}\n{row['model']}" for row in others]
    for place, mode in enumerate(("training", "inference")):
        for axes, labels, bars in (
            (left, names, [row[f"{mode}, % of peak"] for row in rows]),
            (right, models, [row[f"{mode}, pairs/s"] for row in others]),
        ):
            drawn = axes.barh(
                [y + 0.38 * place for y in range(len(bars))], bars, 0.36, color=COLOURS[place], label=mode
            )
            axes.bar_label(drawn, [number(float(bar)) for bar in bars], padding=2, fontsize=8)
            axes.set_yticks([y + 0.19 for y in range(len(labels))], labels, fontsize=8)
    for axes, title in ((left, "% of the machine's matrix-product peak"), (right, "pairs/s beside other models, fp32")):
        axes.set_title(title, fontsize=10)
        axes.margins(x=0.15)
        axes.invert_yaxis()
        axes.spines[["top", "right"]].set_visible(False)
    right.set_xscale("log")
    right.set_visible(bool(others))
    left.legend(loc="lower right")
    figure.savefig(path, dpi=80)


def main() -> None:
    """Print the tables of a file, or write the README."""
    if sys.argv[1:]:
        print(*everything(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))), sep="\n")
        return
    kept = [json.loads(path.read_text(encoding="utf-8")) for path in sorted((FOLDER / "results").glob("*.json"))]
    readme = FOLDER / "README.md"
    text = readme.read_text(encoding="utf-8")
    for name, rows in (("headline", headline(kept)), ("peers", peers(kept))):
        before, _, rest = text.partition(f"<!-- {name} -->")
        text = f"{before}<!-- {name} -->\n\n{markdown(rows)}\n\n<!-- /{rest.partition('<!-- /')[2]}"
    readme.write_text(text, encoding="utf-8")
    draw(FOLDER / "results" / "speed.png", headline(kept), peers(kept))


if __name__ == "__main__":
    main()
