"""Write the tables and the picture of README.md from the files of results."""

from __future__ import annotations

import json
import re
from operator import itemgetter
from pathlib import Path
from typing import Any

import matplotlib as mpl

from sections import Row, number

FOLDER = Path(__file__).parent
HIDDEN = ("section", "part", "measured", "repeats")


def results(section: str) -> list[Any]:
    """Return the rows of a section, from all machines."""
    kept = [json.loads(path.read_text(encoding="utf-8")) for path in sorted((FOLDER / "results").glob("*.json"))]
    return [{"machine": each["machine"], **row} for each in kept for row in each["rows"] if row["section"] == section]


def headline(steps: list[Any]) -> list[Any]:
    """Return the fastest form of each model, machine and precision, training beside inference."""
    found: dict[tuple[str, ...], dict[str, Any]] = {}
    for step in steps:
        if step["form"] != "reference":
            model, mode, precision = re.split(r", batch \d+: |, (?=[a-z]+\d+$)", step["part"])
            key = {"model": model, "machine": step["machine"], "precision": precision}
            row = found.setdefault(tuple(key.values()), key)
            if step["pairs/s"] > row.get(f"{mode}, pairs/s", 0):
                row |= {f"{mode}, {name}": step[name] for name in ("pairs/s", "x reference", "% of peak")}
    return sorted(found.values(), key=itemgetter("model"))


def markdown(rows: list[Row]) -> str:
    """Return rows with the same keys as a table."""
    shown = [{key: number(value) for key, value in row.items() if key not in HIDDEN} for row in rows]
    lines = [list(shown[0]), ["---"] * len(shown[0]), *(row.values() for row in shown)] if shown else []
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) or "not measured yet"


def draw(axes: Any, rows: list[Any], what: str, title: str) -> None:
    """Draw a bar for training and one for inference of each row."""
    for place, mode in enumerate(("training", "inference")):
        lengths = [row[f"{mode}, {what}"] for row in rows]
        bars = axes.barh([y + 0.4 * place for y in range(len(rows))], lengths, 0.38, label=mode)
        axes.bar_label(bars, fmt="{:.3g}", padding=2, fontsize=8)
    names = [
        f"{row['machine'].removesuffix(', 2 threads')}\n{row['model']}, {row.get('precision', 'fp32')}" for row in rows
    ]
    axes.set_yticks(range(len(rows)), names, fontsize=8)
    axes.set_title(title, fontsize=10)
    axes.invert_yaxis()
    axes.margins(x=0.15)


def main() -> None:
    """Write the README and its picture."""
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    steps, peers = headline(results("steps")), results("peers")
    readme = FOLDER / "README.md"
    text = readme.read_text(encoding="utf-8")
    for name, rows in (("headline", steps), ("peers", peers)):
        before, _, rest = text.partition(f"<!-- {name} -->")
        text = f"{before}<!-- {name} -->\n\n{markdown(rows)}\n\n<!-- /{rest.partition('<!-- /')[2]}"
    readme.write_text(text, encoding="utf-8")
    panels = 2 if peers else 1
    size = (5.5 * panels + 1, 0.4 * max(len(steps), len(peers)) + 1)
    figure, (axes,) = plt.subplots(1, panels, figsize=size, layout="constrained", squeeze=False)
    draw(axes[0], steps, "% of peak", "% of the machine's matrix-product peak")
    axes[0].legend(loc="lower right")
    if peers:
        draw(axes[1], peers, "pairs/s", "pairs/s beside other models")
        axes[1].set_xscale("log")
    figure.savefig(FOLDER / "results" / "speed.png", dpi=80)


if __name__ == "__main__":
    main()
