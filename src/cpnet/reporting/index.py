"""What the repository keeps of tables, and the index of them in a README."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from cpnet.data.atomic import replacing
from cpnet.data.moment import DataError
from cpnet.reporting import cells
from cpnet.reporting.documents import escape_markdown
from cpnet.reporting.exports import table_json
from cpnet.reporting.tables import ON_TEST, Report
from cpnet.results import write_json

LONGEST_NAME = 200  # characters, of the 255 that a file's name may have
START, END = "<!-- results -->", "<!-- /results -->"
RECALLS = ("R1@0.3", "R1@0.5", "R1@0.7")
HEADS = ("experiment", "dataset", "row", *(f"R@1,IoU={key[3:]}" for key in RECALLS), "mIoU", "paper's mIoU")
HEADS = (*HEADS, "seeds", "epochs", "commit")


def keep(report: Report, folder: Path) -> list[Path]:
    """Write each table as a small JSON file, and renew the index in the README above, where it has a place for one.

    Raises:
        DataError: a file of the folder is no such table, or the README's place has no end
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for table in report.tables:
        parts = [report.experiment or "runs"] + ([table.protocol["dataset"]] if len(report.tables) > 1 else [])
        name, again = re.sub(r"[^\w.-]+", "-", "_".join(parts), flags=re.ASCII)[:LONGEST_NAME], 1
        path = folder / f"{name}.json"
        while path in written:  # another protocol of the same corpus
            again += 1
            path = folder / f"{name}_{again}.json"
        write_json(path, _rounded(table_json(table, report)))
        written.append(path)
    for path in folder.glob("*.json"):  # of tables that this experiment no longer has
        if path not in written and _experiment(path) == (report.experiment or "-"):
            path.unlink()
    readme = folder.resolve().parent / "README.md"
    if readme.is_file() and START in readme.read_text(encoding="utf-8").splitlines():
        update_index(readme, folder)
        written.append(readme)
    return written


def update_index(readme: Path, folder: Path) -> None:
    """Replace what stands between the lines ``<!-- results -->`` and ``<!-- /results -->`` by the table of a folder.

    Raises:
        DataError: the README lacks one of the lines, or a file of the folder is no table that was kept
    """
    lines = readme.read_text(encoding="utf-8").splitlines()
    if START not in lines or END not in lines[lines.index(START) :]:
        raise DataError(f"{readme}: the index stands between a line {START} and, below it, a line {END}")
    start = lines.index(START)
    end = lines.index(END, start)
    with replacing(readme) as stream:
        stream.write("\n".join([*lines[: start + 1], "", index_table(folder), "", *lines[end:], ""]).encode())


def index_table(folder: Path) -> str:
    """Render all tables that a folder keeps as one markdown table, a line a row.

    Raises:
        DataError: a file of the folder is no table that was kept
    """
    lines = [HEADS, ("---",) * 3 + ("---:",) * (len(HEADS) - 3)]
    for path in sorted(folder.glob("*.json")):
        lines += _lines(path)
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _rounded(node: Any) -> Any:
    """Leave of numbers what a reader of a table compares: a kept table is small and its changes can be read."""
    if isinstance(node, dict):
        return {key: _rounded(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_rounded(value) for value in node]
    return round(node, 4) if isinstance(node, float) else node


def _lines(path: Path) -> list[tuple[str, ...]]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return [_line(content, row) for row in content["rows"]]
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: no table that cpnet.report kept ({error!r}); move it elsewhere") from None


def _experiment(path: Path) -> str | None:
    """Say of which experiment a kept table is, ``-`` for none; None where the file is no such table."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return content["experiment"] or "-" if content["rows"] else None
    except (KeyError, TypeError, ValueError):
        return None


def _line(content: dict[str, Any], row: dict[str, Any]) -> tuple[str, ...]:
    metrics, paper = row["metrics"], row["paper"]
    recalls = [f"{metrics[key]['mean']:.2f}" if key in metrics else "-" for key in RECALLS]
    sd = metrics["mIoU"]["sd"]
    theirs = f"{paper['metrics']['mIoU']:.2f}" if "mIoU" in paper["metrics"] else "-"
    if theirs != "-" and paper["model"] != row["model"]:
        theirs += f" ({escape_markdown(paper['model'])})"
    return (
        *map(escape_markdown, (content["experiment"] or "-", f"{content['dataset']}{_unusual(content)}", row["name"])),
        *recalls,
        f"{metrics['mIoU']['mean']:.2f}" + ("" if sd is None else f" ± {sd:.2f}"),
        theirs,
        escape_markdown(", ".join(map(str, row["seeds"]))),
        escape_markdown(str(row["epochs"])),
        ", ".join(escape_markdown(cells.commit(commit)) for commit in row["commits"]),
    )


def _unusual(content: dict[str, Any]) -> str:
    """Name what is not as it is in most tables: rows of different protocols cannot be compared."""
    rules = content["protocol"]
    unusual = {
        "CHOSEN ON TEST": rules["selection"] == ON_TEST,
        "IoU > m": rules["strict"],
        f"{rules['ground_truth']} ground truth": rules["ground_truth"] != "clipped",
        f"on_defect={rules['on_defect']}": rules["on_defect"] != "error",
    }
    told = [name for name, holds in unusual.items() if holds]
    return f" ({', '.join(told)})" if told else ""
