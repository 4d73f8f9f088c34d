"""Names of other people's runs stay text in every document. Oracles: a markdown parser, csv, LaTeX's rules."""

from __future__ import annotations

import csv
import io
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from rich.console import Console

from cpnet.reporting import figures
from cpnet.reporting.comparison import compare
from cpnet.reporting.documents import escape_latex, escape_markdown, latex, markdown
from cpnet.reporting.exports import to_csv
from cpnet.reporting.index import keep
from cpnet.reporting.publishing import publish
from cpnet.reporting.tables import Report, Table
from cpnet.reporting.terminal import print_report
from cpnet.tracking.predictions import cells
from reporting.made import config, read, write_run
from reporting.test_documents import printed

TEXTS = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "[x](javascript:alert(1)) ![x](http://e)",
    "a | b || c",
    "\\input{/etc/passwd} \\write18{touch pwned} $&%#_{}~^",
    "^^5cinput{x}",
    "`touch pwned` **bold** <!-- /results -->",
    "[bold red]x[/] [link=http://e]y[/link]",
    "=cmd|'/C calc'!A0",
    "\x1b]52;c;cHduZWQ=\x07\x1b[2J",
    "\u202egnp.exe",
]
CONTROLS = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def report_of(text: str, folder: Path) -> Report:
    """A text wherever a run has one of its own: two protocols, and a run that is left out."""
    write_run(folder / "0", cfg=config(model=text, novelty=text, dataset__name=text), paper_model=text)
    write_run(folder / "1", cfg=config(model=text, novelty="other", dataset__name=text), paper_model=text)
    write_run(folder / "2", cfg=config(model="plain"), protocol={"selection": text})
    (folder / "3").mkdir()
    (folder / "3/config.yaml").write_text("a: [")
    return compare(read(folder), experiment=text, baseline=None, resamples=100)


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_is_no_more_than_text_in_any_document(text: str, tmp_path: Path) -> None:
    report = report_of(text, tmp_path / "runs")
    document = markdown(report, [{}] * len(report.tables))
    tokens = MarkdownIt("commonmark", {"html": True}).enable("table").parse(document)
    kinds = {child.type for token in tokens for child in [token, *(token.children or [])]}
    assert not {"html_block", "html_inline", "image", "link_open", "code_inline", "fence"} & kinds
    columns = [line.replace("\\|", "").count("|") for line in document.splitlines() if line.startswith("| ")]
    assert len(set(columns)) <= len(report.tables)
    console = Console(width=200, file=io.StringIO(), force_terminal=False)
    print_report(report, console)
    assert isinstance(console.file, io.StringIO)
    for written in (document, latex(report), console.file.getvalue()):
        assert not CONTROLS.search(written)
    source = "\n".join(line for line in latex(report).splitlines() if not line.startswith("%"))
    assert not re.search(r"(?<!\\)\\(input|write)|\^\^", source)
    for line in csv.reader(io.StringIO(to_csv(report))):
        assert not [cell for cell in line if re.match(r"\s*[=+@]|\s*-\D", cell)]


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_is_printed_as_it_is(text: str) -> None:
    shown = CONTROLS.sub(lambda found: ascii(found[0])[1:-1], text)
    assert printed(escape_latex(text)) == shown
    rendered = MarkdownIt("commonmark").parse(f"x {escape_markdown(text)} x")[1].children or []
    assert "".join(child.content for child in rendered) == f"x {shown} x"


@pytest.mark.parametrize("cell", ["=1", " =1", "+1", "-1", "@x", "\t=1", "\r=1", "\n=1", "\uff1d1", "  @x"])
def test_no_cell_begins_a_formula(cell: str, tmp_path: Path) -> None:
    write_run(tmp_path / "0", cfg=config(model=cell))
    report = compare(read(tmp_path), experiment=None, baseline=None, resamples=100)
    assert next(csv.DictReader(io.StringIO(to_csv(report), newline="")))["row"].startswith("'")


def draw_quickly(table: Table, folder: Path, *, prefix: str) -> dict[str, str]:
    (folder / f"{prefix}recall_at_thresholds.png").touch()
    return {"recall": f"{prefix}recall_at_thresholds.png"}


@pytest.mark.parametrize("text", ["../../x", "/etc/x", "..", "a\0b", "a\nb", "x" * 5000, "é" * 300, "CON", "-rf", ""])
def test_a_name_is_never_a_path(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "draw", draw_quickly)
    report = report_of(text, tmp_path / "runs")
    before = {path for path in tmp_path.rglob("*") if tmp_path / "runs" not in path.parents}
    place = tmp_path / "a/b/report"
    publish(report, place, kept=tmp_path / "a/b/kept", console=Console(file=io.StringIO()))
    made = {path for path in tmp_path.rglob("*") if path.is_file() and tmp_path / "runs" not in path.parents} - before
    assert made
    assert {path.parent for path in made} == {place, tmp_path / "a/b/kept"}
    assert keep(report, tmp_path / "a/b/kept")


def test_a_query_is_a_plain_cell_of_the_table_of_predictions() -> None:
    row = {"duration": 2.0, "true": [0, 1], "predicted": [[0, 1]], "iou": 1.0}
    for text in TEXTS:
        assert cells({**row, "query": text, "video": text})[:2] == [text, text]
        assert type(cells({**row, "query": text, "video": text})[0]) is str


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("pdflatex"), reason="this machine has no LaTeX")
@pytest.mark.parametrize("text", TEXTS)
def test_latex_itself_finds_nothing_wrong_and_does_nothing_else(text: str, tmp_path: Path) -> None:
    packages = "\\usepackage{booktabs}\\usepackage[T1]{fontenc}"
    source = latex(report_of(text, tmp_path / "runs"))
    (tmp_path / "table.tex").write_text(
        f"\\documentclass{{article}}{packages}\\begin{{document}}\n{source}\\end{{document}}\n", encoding="utf-8"
    )
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "table.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout[-1000:]
    files = {"table.aux", "table.log", "table.pdf", "table.tex", "runs"}
    assert {path.name for path in tmp_path.iterdir()} - files == set()
