"""Print a report, and write its documents and pictures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from cpnet.files import replacing
from cpnet.reporting import documents
from cpnet.reporting.explorer.pack import Pack
from cpnet.reporting.figures import tables
from cpnet.reporting.keeping import keep, table_json
from cpnet.reporting.tables import Report
from cpnet.reporting.terminal import print_report


def publish(
    report: Report,
    folder: Path,
    *,
    packs: Sequence[Pack] = (),
    kept: Path | None = None,
    console: Console | None = None,
) -> None:
    """Print a report, write its documents and pictures, and print their paths.

    Args:
        report: the tables
        folder: for the documents and pictures
        packs: test pairs of each table, for an explorer in report.html; empty for a page without
        kept: folder in the repository that stores tables; None to store none
        console: where to print
    """
    console = console or Console()
    folder.mkdir(parents=True, exist_ok=True)
    print_report(report, console)
    pictures = [
        tables.draw(table, folder, prefix=f"{number}_" if len(report.tables) > 1 else "")
        for number, table in enumerate(report.tables, start=1)
    ]
    page = documents.to_explorer(report, pictures, packs, folder) if packs else documents.to_html(report, pictures)
    files = {
        "breakdown.csv": documents.to_breakdown_csv(report),
        "report.csv": documents.to_csv(report),
        "report.html": page,
        "report.json": json.dumps(report_json(report), indent=2) + "\n",
        "report.md": documents.to_markdown(report, pictures),
        "report.tex": documents.to_latex(report),
    }
    for name, text in files.items():
        with replacing(folder / name) as stream:
            stream.write(text.encode(errors="backslashreplace"))
    for path in keep(report, kept) if kept else ():
        console.print(f"kept: {path}", soft_wrap=True, highlight=False, markup=False)
    shown = ", ".join([*files, *(file for each in pictures for file in each.values())])
    console.print(f"outputs: {folder}: {shown}", soft_wrap=True, highlight=False, markup=False)


def report_json(report: Report) -> dict[str, Any]:
    """Return a report as plain containers, with the folders of its runs."""
    folders = [{row.name: [str(run.folder) for run in row.runs] for row in table.rows} for table in report.tables]
    made = [table_json(table, report) | {"folders": of} for table, of in zip(report.tables, folders, strict=True)]
    return {"experiment": report.experiment, "tables": made, "remarks": report.remarks()}
