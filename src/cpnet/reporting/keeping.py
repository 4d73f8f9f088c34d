"""Store the tables of a report in the repository, each with its picture, and an index in the pages that have one."""

from __future__ import annotations

import io
import json
import os
import re
from collections import defaultdict
from dataclasses import asdict
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from PIL import Image

from cpnet.errors import DataError, shown
from cpnet.evaluation.names import printed_name
from cpnet.files import replacing, write_json
from cpnet.reporting.breakdown import Broken
from cpnet.reporting.documents import escape_markdown
from cpnet.reporting.figures import breakdown, kept
from cpnet.reporting.tables import COSTS, Report, Row, Table, cost_text, short_commit
from cpnet.reporting.variants import epochs

LONGEST_NAME = 200  # characters; a file name may have 255
INDEX = re.compile(r"^<!-- results ?([\w*]*) -->$.*?^<!-- /results -->$", re.MULTILINE | re.DOTALL)
RECALLS = ("R1@0.3", "R1@0.5", "R1@0.7", "R5@0.5")
SHOWN = ("parameters (M)", "GFLOP a pair", "training (CPU min)")
HEADS = (
    *("experiment", "dataset", "row", *map(printed_name, RECALLS), "mIoU", "paper's mIoU", *SHOWN),
    *("seeds", "epochs", "commit"),
)
DPI, COLOURS = 110, 64  # of pictures
MALFORMED = (KeyError, TypeError, ValueError, AttributeError, IndexError)


def table_json(table: Table, report: Report) -> dict[str, Any]:
    """Return a table as plain containers, without paths of this machine."""
    return {
        "experiment": report.experiment,
        "dataset": table.protocol.dataset,
        "pairs": table.results.pairs,
        "protocol": asdict(table.protocol),
        "baseline": table.baseline,
        "resamples": report.resamples,
        "rows": [_row_json(row) for row in table.rows],
        "references": table.references,
        "notes": table.notes,
        "groups": table.broken.mean_ious(),
        "published": [asdict(row) for each in table.published for row in each.rows],
    }


def _row_json(row: Row) -> dict[str, Any]:
    results = [run.results for run in row.runs]
    first = results[0]
    return {
        "name": row.name,
        "model": first.model,
        "seeds": [each.seed for each in results],
        "parameters": first.parameters,
        "epochs": epochs(row.runs[0].config),
        "validation": [asdict(each.validation) if each.validation else None for each in results],
        "metrics": {key: asdict(estimate) for key, estimate in row.estimates.items()},
        "paper": {"model": first.paper_model, "metrics": first.paper},
        "precision": [each.precision for each in results],
        "device": [each.device for each in results],
        "commits": list(dict.fromkeys(each.git_commit for each in results)),
        "versions": first.versions,
        "seconds": [each.seconds for each in results],
        "cost": {head: row.cost(head) for head in COSTS},
    }


def keep(report: Report, folder: Path) -> list[Path]:
    """Write each table as a JSON file with two pictures, and update the indices that exist.

    The indices are ``README.md`` beside the folder and ``docs/models.md`` of the repository.

    Returns:
        the written files and indices

    Raises:
        DataError: a file of the folder is not a kept table
    """
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    for table in report.tables:
        parts = [report.experiment or "runs"] + ([table.protocol.dataset] if len(report.tables) > 1 else [])
        name, number = re.sub(r"[^\w.-]+", "-", "_".join(parts), flags=re.ASCII)[:LONGEST_NAME], 1
        path = folder / f"{name}.json"
        while path in written:  # another protocol of the same corpus
            number += 1
            path = folder / f"{name}_{number}.json"
        # Floats have 4 decimals so that diffs stay small.
        content = json.loads(json.dumps(table_json(table, report)), parse_float=lambda text: round(float(text), 4))
        write_json(path, content)
        written += [path, *draw(path)]
    beside = folder.resolve().parent
    indices = (beside / "README.md", beside.parent / "docs/models.md")
    return [*written, *(page for page in indices if update_index(page, folder))]


def draw(table: Path) -> list[Path]:
    """Draw a kept table, and its breakdown by groups of pairs, beside its file; return the pictures.

    Raises:
        DataError: the file is not a kept table
    """
    try:
        content = json.loads(table.read_text(encoding="utf-8"))
        drawn = {table.with_suffix(".png"): _png(kept.draw(content))}
        if "groups" in content:
            title = f"mIoU by group of pairs: {kept.title(content)}"
            drawn[_groups(table)] = _png(breakdown.figure(Broken.of(content["groups"]), title))
    except MALFORMED as error:
        raise DataError(f"{table} is not a table of cpnet.report ({shown(error)}); move it elsewhere") from None
    for path, picture in drawn.items():
        with replacing(path) as stream:
            picture.save(stream, format="png", optimize=True)
    return [*drawn]


def _groups(table: Path) -> Path:
    return table.with_name(f"{table.stem}+groups.png")  # no name of a table has a +


def _png(figure: Figure) -> Image.Image:
    """Return a figure as a picture with few colours, which is a small file."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=DPI)
    return Image.open(stream).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)


def update_index(page: Path, folder: Path) -> bool:
    """Replace the text between ``<!-- results -->`` and ``<!-- /results -->`` with the index and pictures of a folder.

    ``<!-- results compare_* -->`` lists only the experiments whose names match.

    Returns:
        whether the page exists and has the two lines

    Raises:
        DataError: a file of the folder is not a kept table
    """
    text = page.read_text(encoding="utf-8") if page.is_file() else ""
    if found := INDEX.search(text):
        first, *_, last = found[0].splitlines()
        with replacing(page) as stream:
            names = found[1] or "*"
            middle = "\n\n".join([first, index_table(folder, names), *_pictures(folder, names, page), last])
            stream.write(f"{text[: found.start()]}{middle}{text[found.end() :]}".encode())
    return found is not None


def index_table(folder: Path, names: str = "*") -> str:
    """Return the kept tables of a folder as one markdown table, those whose names match.

    A row that several tables share, as ablations share the default model, is printed once, before the others.

    Raises:
        DataError: a file of the folder is not a kept table
    """
    rows: defaultdict[str, list[list[str]]] = defaultdict(list)  # lines by measurement; equal ones are merged
    path = folder
    try:
        for path in sorted(folder.glob(f"{names}.json")):
            content = json.loads(path.read_text(encoding="utf-8"))
            conditions = content["dataset"] + kept.unusual(content)
            for row in content["rows"]:
                values = [each["values"] for each in row["metrics"].values()]
                measured = (conditions, row["model"], row["seeds"], row["commits"], values)
                rows[json.dumps(measured)].append(_index_line(content, row))
    except MALFORMED as error:
        raise DataError(f"{path} is not a table of cpnet.report ({shown(error)}); move it elsewhere") from None
    lines = [[*HEADS], ["---"] * 3 + ["---:"] * (len(HEADS) - 3)]
    for alike in sorted(rows.values(), key=lambda alike: len(alike) == 1):
        if 1 < len(alike) == len({experiment for experiment, *_ in alike}):
            lines.append([f"{len(alike)} experiments", *min(alike, key=lambda line: len(line[2]))[1:]])
        else:
            lines += alike
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _pictures(folder: Path, names: str, page: Path) -> list[str]:
    """Return the kept tables' pictures in markdown."""
    tables = sorted(folder.resolve().glob(f"{names}.json"))
    pictures = [each for table in tables for each in (table.with_suffix(".png"), _groups(table)) if each.is_file()]
    return [f"![{each.stem}]({Path(os.path.relpath(each, page.resolve().parent)).as_posix()})" for each in pictures]


def _index_line(content: dict[str, Any], row: dict[str, Any]) -> list[str]:
    metrics, paper = row["metrics"], row["paper"]
    sd = metrics["mIoU"]["sd"]
    theirs = f"{paper['metrics']['mIoU']:.2f}" if "mIoU" in paper["metrics"] else "-"
    if theirs != "-" and paper["model"] != row["model"]:
        theirs += f" ({paper['model']})"
    texts = (
        *(content["experiment"] or "-", f"{content['dataset']}{kept.unusual(content)}", row["name"]),
        *(f"{metrics[key]['mean']:.2f}" if key in metrics else "-" for key in RECALLS),
        *(f"{metrics['mIoU']['mean']:.2f}" + ("" if sd is None else f" ± {sd:.2f}"), theirs),
        *(cost_text(row.get("cost", {}).get(head)) for head in SHOWN),
        *(", ".join(map(str, row["seeds"])), str(row["epochs"]), ", ".join(map(short_commit, row["commits"]))),
    )
    return [*map(escape_markdown, texts)]
