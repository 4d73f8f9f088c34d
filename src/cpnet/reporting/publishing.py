"""A report's files, and its place on the terminal."""

from __future__ import annotations

import re
from pathlib import Path

from rich.console import Console

from cpnet.data.atomic import replacing
from cpnet.reporting import documents, exports, figures, index
from cpnet.reporting.tables import Report
from cpnet.reporting.terminal import print_report
from cpnet.results import write_json

LONGEST = 100  # characters of a corpus's name in the names of its pictures


def publish(report: Report, folder: Path, *, kept: Path | None = None, console: Console | None = None) -> None:
    """Print a report, write its documents and pictures, and say where they lie.

    Args:
        report: the tables
        folder: for the documents and pictures
        kept: where the repository keeps tables, if they are to be kept
        console: where to print
    """
    console = console or Console()
    folder.mkdir(parents=True, exist_ok=True)
    print_report(report, console)
    pictures = []
    for number, table in enumerate(report.tables, start=1):
        # Several tables may be of one corpus.
        several = len(report.tables) > 1
        prefix = f"{number}_{re.sub('[^0-9A-Za-z]+', '_', table.protocol['dataset'])[:LONGEST]}_" if several else ""
        pictures.append(figures.draw(table, folder, prefix=prefix))
    write_json(folder / "report.json", exports.report_json(report))
    for name, text in (
        ("report.md", documents.markdown(report, pictures)),
        ("report.tex", documents.latex(report)),
        ("report.csv", exports.to_csv(report)),
    ):
        with replacing(folder / name) as stream:
            stream.write(text.encode(errors="backslashreplace"))
    for path in index.keep(report, kept) if kept else ():
        console.print(f"kept: {path}", soft_wrap=True, highlight=False, markup=False)
    files = ", ".join(sorted(path.name for path in folder.iterdir() if path.name.startswith("report.")))
    shown = ", ".join(file for each in pictures for file in each.values())
    console.print(f"outputs: {folder}: {files}, {shown}", soft_wrap=True, highlight=False, markup=False)
