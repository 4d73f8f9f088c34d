"""Write a report as markdown, HTML, LaTeX and CSV. Names from runs are untrusted: each document prints them as text."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pandas as pd
from markdown_it import MarkdownIt

from cpnet.evaluation.names import printed_name
from cpnet.reporting import spreadsheets
from cpnet.reporting.explorer.pack import Pack
from cpnet.reporting.explorer.page import to_page
from cpnet.reporting.tables import Report, conditions
from cpnet.reporting.variants import epochs
from cpnet.terminal import one_line

Pictures = Sequence[Mapping[str, str]]  # files of each table by title, relative to the document

_LATEX = {
    **{letter: f"\\{letter}" for letter in "_%&$#{}"},
    "\\": "\\textbackslash{}",
    "~": "\\textasciitilde{}",
    "^": "\\textasciicircum{}",
    "<": "\\textless{}",
    ">": "\\textgreater{}",
    "|": "\\textbar{}",
    '"': "\\textquotedbl{}",
    **{letter: f"{{{letter}}}" for letter in "[*-'`"},  # in braces, neither an option of \\ nor part of a ligature
}
_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<style>body {{font-family: sans-serif}} td, th {{padding: .2em .8em}} img {{max-width: 100%}}</style></head><body>
{body}</body></html>
"""


def escape_latex(text: str) -> str:
    r"""Return one line of LaTeX that prints the text.

    >>> escape_latex("50 % of a_b")
    '50 \\% of a\\_b'
    """
    return "".join(_LATEX.get(letter, letter) for letter in one_line(text))


def escape_markdown(text: str) -> str:
    r"""Return one line of markdown that prints the text, also within a table.

    >>> escape_markdown("a|b, model.pyramid_levels=2, _x")
    'a\\|b, model.pyramid_levels=2, \\_x'
    """
    # A single underscore between letters is text already.
    return re.sub(r"[\\|`*<>\[\]~#$&]|(?<![^\W_])_|_(?![^\W_])", r"\\\g<0>", one_line(text))


def to_markdown(report: Report, pictures: Pictures) -> str:
    """Return the report as markdown."""
    lines = [f"# {escape_markdown(report.experiment or 'Runs')}"]
    for table, files in zip(report.tables, pictures, strict=True):
        lines += ["", f"## {escape_markdown(table.title)}", "", _markdown_table(*table.cells()), ""]
        lines += [f"- {escape_markdown(sentence)}" for sentence in table.sentences()]
        for each in table.published:
            lines += ["", f"### {escape_markdown(each.title)}", "", _markdown_table(*each.cells()), ""]
        lines += [f"\n![{escape_markdown(title)}]({file})" for title, file in files.items()]
        lines += ["", _markdown_table(*table.broken.cells())]
    for title, sentences in report.remarks().items():
        lines += ["", f"## {title}", "", *(f"- {escape_markdown(sentence)}" for sentence in sentences)]
    return "\n".join([*lines, ""])


def _markdown_table(heads: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    frame = pd.DataFrame(cells, columns=[*map(escape_markdown, heads)], dtype=object).map(escape_markdown)
    alignment = ["left", *["right"] * (len(heads) - 1)]
    return str(frame.to_markdown(index=False, disable_numparse=True, colalign=alignment))


def to_html(report: Report, pictures: Pictures) -> str:
    """Return the report as a page of HTML without scripts."""
    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(to_markdown(report, pictures))
    return _PAGE.format(title=html.escape(_title(report)), body=body)


def to_explorer(report: Report, pictures: Pictures, packs: Sequence[Pack], folder: Path) -> str:
    """Return the report as one file of HTML: tables, the pictures of ``folder``, and an explorer of the test pairs."""
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = parser.parse(to_markdown(report, pictures))
    for token in [each for block in tokens for each in (block, *(block.children or ()))]:
        token.attrs.pop("style", None)  # of cells; the page's policy forbids it
        if token.type == "image":
            picture = (folder / str(token.attrs["src"])).read_bytes()
            token.attrs["src"] = f"data:image/png;base64,{base64.b64encode(picture).decode()}"
    return to_page(_title(report), parser.renderer.render(tokens, parser.options, {}), packs)


def _title(report: Report) -> str:
    return one_line(report.experiment or "Runs")


def to_latex(report: Report) -> str:
    """Return the tables as LaTeX, for a document with the packages booktabs and, for quotes, T1 fonts."""
    head = ["% \\usepackage{booktabs}, \\usepackage[T1]{fontenc}"]
    head += [f"% several tables: {one_line(reason)}" for reason in report.reasons]
    tables = []
    for table in report.tables:
        tables.append(_latex(*table.cells(), [table.title, *table.sentences()]))
        tables += [_latex(*each.cells(), [each.title]) for each in table.published]
    return "\n\n".join(["\n".join(head), *tables]) + "\n"


def _latex(heads: Sequence[str], cells: Sequence[Sequence[str]], sentences: Sequence[str]) -> str:
    # Each line of a cell becomes a line of the table, which keeps the table narrow enough for a page.
    lines = [line for row in cells for line in zip_longest(*(cell.split("\n") for cell in row), fillvalue="")]
    frame = pd.DataFrame(lines, columns=[*map(_latex_cell, heads)], dtype=object).map(_latex_cell)
    tabular = frame.to_latex(index=False, column_format=f"l{'r' * (len(heads) - 1)}")
    caption = _latex_cell(". ".join(each[:1].upper() + each[1:] for each in sentences) + ".")
    opening = ["\\begin{table}", "\\centering", "\\footnotesize", "\\setlength{\\tabcolsep}{2pt}"]
    return "\n".join([*opening, tabular.rstrip(), f"\\caption{{{caption}}}", "\\end{table}"])


def _latex_cell(text: str) -> str:
    return escape_latex(text).replace("±", "$\\pm$")


def to_csv(report: Report) -> str:
    """Return the numbers as CSV, one line per row and metric."""
    records: list[dict[str, Any]] = []
    for number, table in enumerate(report.tables, start=1):
        rules: dict[str, Any] = {"table": number, **conditions(table.protocol)}
        rules |= {"features": table.protocol.features, "pairs": table.results.pairs}
        for row in table.rows:
            first = row.runs[0]
            rules_of_row = {"kind": "run", "row": row.name, "seeds": len(row.runs)}
            rules_of_row |= {"parameters": first.results.parameters, "epochs": epochs(first.config)}
            for key, of in row.estimates.items():
                numbers = {"metric": printed_name(key), "mean": of.mean, "sd": of.sd, "low": of.low, "high": of.high}
                if to := of.difference:
                    ends = (to.mean, to.low, to.high, *(to.seeds or ()))
                    names = ("difference", "difference low", "difference high", "over seeds low", "over seeds high")
                    numbers |= dict(zip(names, ends, strict=False))
                records.append(rules | rules_of_row | numbers)
        for name, metrics in table.references.items():
            about = rules | {"kind": "reference", "row": name}
            records += [about | {"metric": printed_name(key), "mean": value} for key, value in metrics.items()]
        for published in (row for each in table.published for row in each.rows):
            about = asdict(published) | {"table": number, "dataset": rules["dataset"], "kind": "published"}
            metrics, about["row"] = about.pop("metrics"), about.pop("name")
            records += [about | {"metric": printed_name(key), "mean": value} for key, value in metrics.items()]
    return spreadsheets.to_csv(records)


def to_breakdown_csv(report: Report) -> str:
    """Return the breakdown of all rows as CSV, one line per table, row, group and metric."""
    records = (
        {"table": number, **of} for number, each in enumerate(report.tables, start=1) for of in each.broken.records()
    )
    return spreadsheets.to_csv(records)
