"""Documents of plain and of untrusted names. Oracles: parsers of markdown, HTML and CSV, and LaTeX's rules."""

from __future__ import annotations

import csv
import io
import re
import shutil
import subprocess
from collections.abc import Callable
from html import unescape
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from rich.console import Console

from cpnet.reporting.documents import escape_latex, escape_markdown, to_csv, to_html, to_latex, to_markdown
from cpnet.reporting.tables import Report
from cpnet.reporting.terminal import print_report
from reporting.made import compared, config, spans, write_run

HARD = "50 % of $x_1^2 & {a|b} ~ #3 \\ *y* [z] <w> `v` " + "long " * 20
ESCAPED = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30)
LATEX_WORDS = {
    "textbackslash": "\\",
    "textasciitilde": "~",
    "textasciicircum": "^",
    "textless": "<",
    "textgreater": ">",
    "textbar": "|",
    "textquotedbl": '"',
}
TEXTS = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "[x](javascript:alert(1)) ![x](http://e)",
    "a | b || c",
    "\\input{/etc/passwd} \\write18{touch pwned} $&%#_{}~^",
    "^^5cinput{x}",
    "`touch pwned` **bold** <!-- /results -->",
    "[bold red]x[/] [/nonsense] [link=http://e]y[/link] :car:",
    "=cmd|'/C calc'!A0",
    "\x1b]52;c;cHduZWQ=\x07\x1b[2J",
    "\u202egnp.exe",
]
FORMULAS = ["=1", " =1", "+1", "-1", "@sum", "\t=1", "\r=1", "\n=1", "\uff1d1", "  @x", "=a, b", "a; =1+1;@sum"]
CONTROLS = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def markdown(report: Report) -> str:
    return to_markdown(report, [{"recall": "recall.png"}] * len(report.tables))


def html(report: Report) -> str:
    return to_html(report, [{"recall": "recall.png"}] * len(report.tables))


def terminal(report: Report, width: int = 200) -> str:
    console = Console(width=width, file=io.StringIO(), record=True)
    print_report(report, console)
    return console.export_text()


def cells_of(page: str) -> list[list[str]]:
    """Cells of the tables of a page of HTML as a browser shows them."""
    lines = [re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", line, re.DOTALL) for line in page.split("<tr>")[1:]]
    return [[unescape(cell) for cell in line] for line in lines]


def printed(source: str) -> str:
    """What LaTeX prints of escaped text; fails for a character with another effect."""
    out = []
    while source:
        match = re.match(r"\\([a-z]+)\{\}|\\([_%&$#{}])|\{(['\[*`-])\}|([^\\_%&$#{}~^<>|\"'\[*`-])", source)
        assert match, f"LaTeX would take {source!r} for a command"
        word, escaped, grouped, plain = match.groups()
        out.append(LATEX_WORDS[word] if word else escaped or grouped or plain)
        source = source[match.end() :]
    return "".join(out)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """Two rows of two seeds, the second row without an error and with a name that is hard to print."""
    folder, true = tmp_path_factory.mktemp("runs"), spans(12, 100)
    for seed in (0, 1):
        write_run(folder / str(seed), cfg=config(seed=seed, novelty="plain"))
        write_run(folder / f"hard{seed}", cfg=config(seed=seed, novelty=HARD), predicted=true, true=true)
    (folder / "3").mkdir()
    (folder / "3/config.yaml").write_text("a: [")
    return compared(folder, experiment="a_b")


def test_html_and_markdown_have_all_cells(report: Report) -> None:
    first, second = (row.estimates["mIoU"] for row in report.tables[0].rows)
    lines = cells_of(html(report))
    cells, broken = lines[:6], lines[6:]
    assert cells[0] == ["", "R@1,IoU=0.5", "mIoU", "difference in R@1,IoU=0.5", "difference in mIoU", "seeds"]
    names = ["novelty=plain", f"novelty={HARD.strip()}", "whole video [0, 1]", "best constant, mIoU [0, 0.5]"]
    assert [line[0] for line in cells[1:]] == [*names, "the paper's cpnet"]
    assert cells[1][2] == f"{first.mean:.2f} ± {first.sd:.2f} [{first.low:.1f}, {first.high:.1f}]"
    assert cells[1][4:] == ["-", "2"]
    assert cells[2][4] == " ".join(str(second.difference).split())
    assert cells[-1][1:] == ["60.27", "52.00", "", "", ""]
    assert broken[0] == ["mIoU by", "", "pairs", *names[:2], "best constant, mIoU"]
    assert all(re.fullmatch(r"100\.00 \[\d+\.\d, 100\.0\]", line[4]) for line in broken[1:])
    assert '<img src="recall.png" alt="recall"' in html(report)
    for text in (markdown(report), html(report)):
        assert "ground truth clipped" in text
        assert "left out: 1 folders" in text
        assert "config.yaml cannot be read" in text


@pytest.mark.parametrize("show", [html, markdown, terminal, to_latex, to_csv])
def test_published_rows_of_the_same_features_are_shown(tmp_path: Path, show: Callable[[Report], str]) -> None:
    features = {"path": "c3d.hdf5", "dim": 4, "name": "C3D"}
    write_run(tmp_path / "run", cfg=config(dataset={"name": "tacos", "blind": "none", "features": features}))
    made = compared(tmp_path)
    [published] = made.tables[0].published
    assert published.title.startswith("published: CPNet (AAAI 2021), Table 4, features C3D, cut TALL's")
    assert published.cells()[1] == [["CPNet", "AAAI 2021", "42.61", "28.29", "28.69"]]
    assert all(text in show(made) for text in ("CPNet (AAAI 2021), Table 4", "AAAI 2021", "42.61", "28.29", "28.69"))


def test_latex_is_a_booktabs_table(report: Report) -> None:
    text = to_latex(report)
    table = text[text.index("\\begin{tabular}") : text.index("\\end{tabular}")]
    assert table.startswith("\\begin{tabular}{lrrrrr}\n\\toprule\n & R@1,IoU=0.5 & mIoU & difference in R@1")
    lines = [line for line in table.splitlines() if line.endswith("\\\\")]
    assert all(len(re.findall(r"(?<!\\)&", line)) == 5 for line in lines)
    names = [printed(line.partition(" & ")[0]) for line in lines]
    assert [name for name in names if name][:2] == ["novelty=plain", f"novelty={HARD.strip()}"]
    first = report.tables[0].rows[0].estimates["mIoU"]
    assert f"{first.mean:.2f} $\\pm$ {first.sd:.2f}" in lines[1]
    assert f"{first.low:.1f}, {first.high:.1f}]" in lines[2]
    assert lines[-1].startswith("the paper{'}s cpnet & 60.27 & 52.00 &")


def test_csv_has_the_numbers_of_every_row_and_metric(report: Report) -> None:
    lines = list(csv.DictReader(io.StringIO(to_csv(report))))
    metrics = ["R@1,IoU=0.5", "dR@1,IoU@0.5", "mIoU"]
    kinds = [(kind, metric) for kind in ("run", "run", "reference", "reference") for metric in metrics]
    assert [(line["kind"], line["metric"]) for line in lines[:-2]] == kinds
    estimate = report.tables[0].rows[1].estimates["dR1@0.5"]
    to = estimate.difference
    assert to is not None
    assert to.seeds is not None
    names = ("mean", "sd", "low", "high", "difference", "difference low", "difference high")
    assert [float(lines[4][name]) for name in (*names, "over seeds low", "over seeds high")] == [
        *(estimate.mean, estimate.sd, estimate.low, estimate.high, to.mean, to.low, to.high, *to.seeds)
    ]
    assert [lines[0][name] for name in ("seeds", "parameters", "epochs")] == ["2", "1234", "3"]
    assert [lines[-1][name] for name in ("row", "mean", "seeds")] == ["the paper's cpnet", "52.0", ""]


def test_the_terminal_shows_all_numbers_in_80_columns(report: Report) -> None:
    text = terminal(report, width=80)
    assert "…" not in text  # nothing is cut
    first, second = (row.estimates["mIoU"] for row in report.tables[0].rows)
    shown = ("tiny, test split, 12 pairs (per cent)", "the paper's cpnet", "left out: 1 folders", "cannot be read")
    for expected in (*shown, *str(first).split("\n"), *str(second.difference).split("\n")):
        assert expected in text


@pytest.mark.parametrize("show", [terminal, to_latex, markdown, html])
def test_every_document_warns_and_explains_several_tables(tmp_path: Path, show: Callable[[Report], str]) -> None:
    write_run(tmp_path / "0", protocol={"selection": "test"})
    write_run(tmp_path / "1")
    text = show(compared(tmp_path))
    assert text.count("THE CHECKPOINTS WERE CHOSEN ON THE TEST SPLIT") == 1
    assert "selection is test or holdout" in text


@given(ESCAPED)
def test_escaped_text_prints_as_itself(text: str) -> None:
    shown = " ".join(text.split())
    assert printed(escape_latex(text)) == shown
    rendered = (
        MarkdownIt("commonmark").enable("table").render(f"| a | b |\n|---|---|\n| x{escape_markdown(text)}x | c |")
    )
    assert cells_of(rendered)[1] == [" ".join(f"x{shown}x".split()), "c"]


@pytest.fixture(params=TEXTS)
def hostile(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Report]:
    """A text, and a report with it wherever a run may have its own: two protocols, and a folder that is left out."""
    text, folder = request.param, tmp_path / "runs"
    write_run(folder / "0", cfg=config(model=text, novelty=text, dataset__name=text), paper_model=text)
    write_run(folder / "1", cfg=config(model=text, novelty="other", dataset__name=text), paper_model=text)
    write_run(folder / "2", cfg=config(model="plain"), protocol={"ground_truth": text})
    (folder / "3").mkdir()
    (folder / "3/config.yaml").write_text("a: [")
    return text, compared(folder, experiment=text)


def test_untrusted_names_are_text_in_every_document(hostile: tuple[str, Report]) -> None:
    text, report = hostile
    escaped = CONTROLS.sub(lambda found: ascii(found[0])[1:-1], text)
    tags = {"html", "head", "meta", "title", "style", "body", "h1", "h2", "ul", "li", "img", "p"}
    page = html(report)
    assert set(re.findall(r"<(\w+)", page)) == tags | {"table", "thead", "tbody", "tr", "th", "td"}
    assert cells_of(page)[1][0] == f"novelty={escaped}"
    assert set(re.findall('(?:src|href)="([^"]*)"', page)) == {"recall.png"}
    tokens = MarkdownIt("commonmark", {"html": True}).enable("table").parse(markdown(report))
    kinds = {child.type for token in tokens for child in [token, *(token.children or [])]}
    assert not {"html_block", "html_inline", "link_open", "code_inline", "fence"} & kinds
    assert "".join(escaped.split()) in "".join(terminal(report).split())
    for written in (markdown(report), html(report), to_latex(report), terminal(report)):
        assert not CONTROLS.search(written)
    source = "\n".join(line for line in to_latex(report).splitlines() if not line.startswith("%"))
    assert not re.search(r"(?<!\\)\\(input|write)|\^\^", source)
    assert printed(escape_latex(text)) == escaped
    for line in csv.reader(io.StringIO(to_csv(report))):
        assert not [cell for cell in line if re.match(r"\s*[=+@]|\s*-\D", cell)]


@pytest.mark.parametrize("cell", FORMULAS)
def test_no_cell_of_the_csv_is_a_formula(cell: str, tmp_path: Path) -> None:
    write_run(tmp_path / "0", cfg=config(model=cell))
    text = to_csv(compared(tmp_path))
    name = next(csv.DictReader(io.StringIO(text, newline="")))["row"]
    assert name.startswith("'") or name == "a;' =1+1;'@sum"
    for separator in ",;":
        for line in csv.reader(io.StringIO(text, newline=""), delimiter=separator):
            assert not [each for each in line if re.match(r"\s*[=@＝]|\s*[-+]\D", each)]  # noqa: RUF001


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("pdflatex"), reason="pdflatex is not installed")
def test_latex_compiles_and_writes_no_other_file(hostile: tuple[str, Report], tmp_path: Path) -> None:
    packages = "\\usepackage{booktabs}\\usepackage[T1]{fontenc}"
    source = f"\\documentclass{{article}}{packages}\\begin{{document}}\n{to_latex(hostile[1])}\\end{{document}}\n"
    (tmp_path / "table.tex").write_text(source, encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "table.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout[-1000:]
    files = {"table.aux", "table.log", "table.pdf", "table.tex", "runs"}
    assert {path.name for path in tmp_path.iterdir()} - files == set()
