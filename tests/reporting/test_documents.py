"""Oracle: documents written by hand, a markdown parser and the rules of LaTeX, read by a small reader of our own."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from rich.console import Console

from cpnet.reporting.comparison import compare
from cpnet.reporting.documents import escape_latex, escape_markdown, latex, markdown
from cpnet.reporting.runs import LeftOut
from cpnet.reporting.tables import Report
from cpnet.reporting.terminal import print_report
from reporting.made import config, read, spans, write_run

HARD = "50 % of $x_1^2 & {a|b} ~ #3 \\ *y* [z] <w> `v`"
TEXTS = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """Two rows: the first of two seeds, the second right everywhere and with a name that is hard to print."""
    folder, true = tmp_path_factory.mktemp("runs"), spans(12, 100)
    for seed in (0, 1):
        write_run(folder / str(seed), cfg=config(seed=seed, novelty="plain"))
    write_run(folder / "2", cfg=config(novelty=HARD), predicted=true, true=true)
    (folder / "3").mkdir()
    (folder / "3/config.yaml").write_text("a: [")
    return compare(read(folder), experiment="a_b", baseline=None, resamples=200)


def cells(document: str) -> list[list[str]]:
    """Rows of a document's first table, as a browser would show them."""
    tokens = MarkdownIt("commonmark").enable("table").parse(document)
    end = next(place for place, token in enumerate(tokens) if token.type == "table_close")
    found: list[list[str]] = []
    for token in tokens[:end]:
        if token.type == "tr_open":
            found.append([])
        elif token.type == "inline" and found:
            found[-1].append("".join(child.content for child in token.children or []))
    return found


def test_markdown_has_a_line_a_row(report: Report) -> None:
    head, *body = cells(markdown(report, [{}]))
    assert head == ["", "R@1,IoU=0.5", "mIoU", "difference in R@1,IoU=0.5", "difference in mIoU", "seeds"]
    names = ["novelty=plain", f"novelty={HARD}", "whole video [0, 1]", "best constant, mIoU [0, 0.5]"]
    assert [line[0] for line in body] == [*names, "the paper's cpnet"]
    first = report.tables[0].rows[0].estimates["mIoU"]
    assert body[0][2] == f"{first.mean:.2f} ± {first.sd:.2f} [{first.low:.2f}, {first.high:.2f}]"
    assert body[0][3:] == ["-", "-", "2"]
    assert body[1][1:3] == ["100.00 [100.00, 100.00]", "100.00 [100.00, 100.00]"]
    assert body[1][4].startswith(f"+{100 - first.mean:.2f} * [")
    assert body[2] == ["whole video [0, 1]", "1.00", "20.00", "", "", ""]
    assert body[4][1:3] == ["60.27", "52.00"]


def test_markdown_says_what_was_left_out_and_shows_the_pictures(report: Report) -> None:
    text = markdown(report, [{"IoU of the predictions": "iou.png"}])
    assert "![IoU of the predictions](iou.png)" in text
    assert "## Left out" in text
    assert "config.yaml is damaged" in text
    assert "- IoU \\>= m; ground truth clipped" in text


@given(TEXTS)
def test_any_text_is_itself_in_markdown(text: str) -> None:
    rendered = cells(f"| a | b |\n|---|---|\n| x{escape_markdown(text)}x | end |")
    assert rendered[1] == ["x" + " ".join(text.split()) + "x", "end"]


LATEX_WORDS = {
    "textbackslash": "\\",
    "textasciitilde": "~",
    "textasciicircum": "^",
    "textless": "<",
    "textgreater": ">",
    "textbar": "|",
    "textquotedbl": '"',
}


def printed(source: str) -> str:
    """What LaTeX prints of text with escapes, and a failure for any letter that would do something else."""
    out = []
    while source:
        match = re.match(r"\\([a-z]+)\{\}|\\([_%&$#{}])|\{(['\[*`-])\}|([^\\_%&$#{}~^<>|\"'\[*`-])", source)
        assert match, f"LaTeX would take {source!r} for a command"
        word, escaped, grouped, plain = match.groups()
        out.append(LATEX_WORDS[word] if word else escaped or grouped or plain)
        source = source[match.end() :]
    return "".join(out)


@given(TEXTS)
def test_any_text_is_itself_in_latex(text: str) -> None:
    assert printed(escape_latex(text)) == " ".join(text.split())


def test_latex_is_a_booktabs_table(report: Report) -> None:
    text = latex(report)
    table = text[text.index("\\begin{tabular}") : text.index("\\end{tabular}")]
    assert table.startswith("\\begin{tabular}{@{}lrrrrr@{}}\n\\toprule\n")
    lines = [line for line in table.splitlines() if line.endswith("\\\\")]
    assert all(len(re.findall(r"(?<!\\)&", line)) == 5 for line in lines)
    assert table.count("\\midrule") == 3
    assert lines[0] == " & R@1 & mIoU & diff. R@1 & diff. mIoU & seeds \\\\"
    assert lines[1] == " & IoU=0.5 &  & IoU=0.5 &  &  \\\\"
    names = [printed(line.partition(" & ")[0]) for line in lines[2:6:2]]
    assert names == ["novelty=plain", f"novelty={HARD}"]
    first = report.tables[0].rows[0].estimates["mIoU"]
    assert f"${first.mean:.2f} \\pm {first.sd:.2f}$" in lines[2]
    assert f"[{first.low:.2f}, {first.high:.2f}]" in lines[3]
    assert "\\textit{the paper{'}s cpnet}" in lines[-1]


def terminal(report: Report, width: int = 100) -> str:
    console = Console(width=width, file=io.StringIO(), record=True)
    print_report(report, console)
    return console.export_text()


def test_the_terminal_shows_numbers_intervals_differences_and_what_is_left_out(report: Report) -> None:
    text = terminal(report, width=80)
    assert "…" not in text  # nothing is cut
    first, second = (row.estimates["mIoU"] for row in report.tables[0].rows)
    assert "tiny, test split, 12 pairs (per cent)" in text
    assert f"{first.mean:.2f} ±{first.sd:.2f}" in text
    assert f"[{first.low:.1f}, {first.high:.1f}]" in text
    assert second.difference is not None
    assert f"+{second.difference.mean:.2f} *" in text
    assert "the paper's cpnet" in text
    assert "left out: 1 folders" in text
    assert "config.yaml is damaged" in text


def test_the_terminal_does_not_take_names_for_markup(tmp_path: Path) -> None:
    for place, name in enumerate(("[bold]x[/]", "[/nonsense]", ":car:")):
        write_run(tmp_path / str(place), cfg=config(novelty=name))
    text = terminal(compare(read(tmp_path), experiment=None, baseline=None, resamples=100))
    for name in ("[bold]x[/]", "[/nonsense]", ":car:"):
        assert f"novelty={name}" in text


@pytest.mark.parametrize("show", [terminal, latex, lambda report: markdown(report, [{}] * len(report.tables))])
def test_every_document_shouts_and_tells_why_there_are_several_tables(tmp_path: Path, show: Any) -> None:
    write_run(tmp_path / "0", protocol={"selection": "THE TEST SPLIT"})
    write_run(tmp_path / "1")
    text = show(compare(read(tmp_path), experiment=None, baseline=None, resamples=100))
    assert "THE CHECKPOINTS WERE CHOSEN ON THE TEST SPLIT" in text
    assert "selection is THE TEST SPLIT or 10" in text


def test_a_reason_with_lines_stays_in_its_item(report: Report) -> None:
    odd = Report("x", report.tables, [], [LeftOut(Path("a|b"), "one\n# two")], 100)
    assert "- a\\|b: one \\# two" in markdown(odd, [{}])


def test_intervals_over_seeds_stand_in_every_document(tmp_path: Path) -> None:
    for variant in (1, 2):
        for seed in (0, 1):
            write_run(
                tmp_path / f"{variant}{seed}",
                cfg=config(seed=seed, epochs=variant),
                predicted=spans(12, variant + seed),
            )
    report = compare(read(tmp_path), experiment=None, baseline=None, resamples=100)
    of = report.tables[0].rows[1].estimates["mIoU"].difference
    assert of is not None
    assert of.seeds is not None
    interval = f"[{of.seeds[0]:.2f}, {of.seeds[1]:.2f}]"
    assert f"seeds {interval}" in markdown(report, [{}])
    assert f"seeds {interval}" in terminal(report)
    (line,) = [line for line in latex(report).splitlines() if "over seeds} &" in line]
    assert interval in line
    assert line.count("&") == 5
