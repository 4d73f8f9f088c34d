"""A report as markdown and as LaTeX; names, notes and folders stay the text that they are."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from cpnet.metrics import printed_name
from cpnet.printing import printable
from cpnet.reporting import cells
from cpnet.reporting.tables import ON_TEST, Reference, Report, Row, Table

_LATEX = {
    **{letter: f"\\{letter}" for letter in "_%&$#{}"},
    "\\": "\\textbackslash{}",
    "~": "\\textasciitilde{}",
    "^": "\\textasciicircum{}",
    "<": "\\textless{}",
    ">": "\\textgreater{}",
    "|": "\\textbar{}",
    '"': "\\textquotedbl{}",
    **{letter: f"{{{letter}}}" for letter in "[*-'`"},  # no option after a line's end, no ligature
}


PLUS_MINUS = " \\pm "


def escape_latex(text: str) -> str:
    r"""Make any text one line of LaTeX that prints it.

    >>> escape_latex("50 % of a_b")
    '50 \\% of a\\_b'
    """
    return "".join(_LATEX.get(letter, letter) for letter in printable(" ".join(text.split())))


def escape_markdown(text: str) -> str:
    r"""Make any text one line of markdown that prints it, also in a table's cell.

    >>> escape_markdown("a|b, model.pyramid_levels=2, _x")
    'a\\|b, model.pyramid_levels=2, \\_x'
    """
    # A lone underscore between letters is one already.
    return re.sub(r"[\\|`*<>\[\]~#$&]|(?<![^\W_])_|_(?![^\W_])", r"\\\g<0>", printable(" ".join(text.split())))


def markdown(report: Report, pictures: Sequence[Mapping[str, str]]) -> str:
    """Write a report as markdown.

    Args:
        report: the tables
        pictures: of each table: file by title, relative to the document
    """
    lines = [f"# {escape_markdown(report.experiment or 'Runs')}", ""]
    for table, shown in zip(report.tables, pictures, strict=True):
        lines += [f"## {escape_markdown(table.title)}", "", *_markdown_table(table), ""]
        for line, text in enumerate(table.caption()):
            loud = line == 0 and table.protocol["selection"] == ON_TEST
            lines.append(f"- **{escape_markdown(text)}**" if loud else f"- {escape_markdown(text)}")
        lines += [f"- note: {escape_markdown(note)}" for note in table.notes]
        lines += ["", *(f"![{escape_markdown(title)}]({file})" for title, file in shown.items()), ""]
    if report.reasons:
        lines += ["## Why several tables", "", *(f"- {escape_markdown(reason)}" for reason in report.reasons), ""]
    if report.left_out:
        lines += ["## Left out", ""]
        lines += [f"- {escape_markdown(f'{each.folder}: {each.reason}')}" for each in report.left_out]
    return "\n".join(lines).rstrip() + "\n"


def _markdown_table(table: Table) -> list[str]:
    compared = table.compared if len(table.rows) > 1 else []
    heads = [
        "",
        *map(printed_name, table.printed),
        *(f"difference in {printed_name(key)}" for key in compared),
        "seeds",
    ]
    body = [[f"**{escape_markdown(row.name)}**", *_measured(row, table.printed, compared)] for row in table.rows]
    for reference, form in [(each, "{}") for each in table.trivial] + [(each, "*{}*") for each in table.paper]:
        numbers = [cells.known(reference.metrics.get(key)) for key in table.printed]
        body.append([form.format(escape_markdown(reference.name)), *numbers, *("" for _ in compared), ""])
    return ["| " + " | ".join(line) + " |" for line in (heads, ["---", *("---:" for _ in heads[1:])], *body)]


def _measured(row: Row, keys: Sequence[str], compared: Sequence[str]) -> list[str]:
    texts = [f"{cells.mean(row.estimates[key])} {cells.between(row.estimates[key])}" for key in keys]
    for key in compared:
        difference = row.estimates[key].difference
        intervals = [cells.between(difference), cells.over_seeds(difference)] if difference else []
        texts.append(" ".join([cells.difference(row.estimates[key]), *filter(None, intervals)]))
    return [*(text.replace("*", "\\*") for text in texts), str(len(row.runs))]


def latex(report: Report) -> str:
    """Write a report's tables as LaTeX, for a document with the packages booktabs and, for quotes, T1 fonts."""
    head = ["% \\usepackage{booktabs}, \\usepackage[T1]{fontenc}"]
    head += [f"% several tables: {printable(' '.join(reason.split()))}" for reason in report.reasons]
    return "\n\n".join(["\n".join(head), *map(_latex_table, report.tables)]) + "\n"


def _latex_table(table: Table) -> str:
    compared = table.compared if len(table.rows) > 1 else []
    heads = ["", *map(printed_name, table.printed), *(f"diff. {printed_name(key)}" for key in compared), "seeds"]
    # Narrow enough for a page: small, R@1 above its threshold, little space between columns
    lines = ["\\begin{table}", "\\centering", "\\footnotesize", "\\setlength{\\tabcolsep}{2pt}"]
    lines += [f"\\begin{{tabular}}{{@{{}}l{'r' * (len(heads) - 1)}@{{}}}}", "\\toprule"]
    upper, _, lower = zip(*(head.partition(",") for head in heads), strict=True)
    lines += [_latex_line([*map(escape_latex, line)]) for line in (upper, lower)]
    lines.append("\\midrule")
    for row in table.rows:
        lines += _latex_row(row, table.printed, compared)
    for references in (table.trivial, table.paper):
        if references:
            lines.append("\\midrule")
        lines += [_latex_reference(each, table.printed, len(compared)) for each in references]
    sentences = [table.title, *(each[:1].upper() + each[1:] for each in (*table.caption(), *table.notes))]
    caption = escape_latex(". ".join(sentences) + ".").replace("+{-}", "$\\pm$")
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}", f"\\caption{{{caption}}}", "\\end{table}"])


def _latex_row(row: Row, keys: Sequence[str], compared: Sequence[str]) -> list[str]:
    """Two or three lines: what was measured, and the intervals, small."""
    differences = {key: row.estimates[key].difference for key in compared}
    upper = [f"${cells.mean(row.estimates[key], PLUS_MINUS)}$" for key in keys]
    upper += [f"${cells.difference(row.estimates[key])}$" if of else "--" for key, of in differences.items()]
    lower = [cells.between(row.estimates[key]) for key in keys]
    lower += [cells.between(of) if of else "" for of in differences.values()]
    lines = [_latex_line([escape_latex(row.name), *upper, str(len(row.runs))]), _latex_line(["", *_small(lower), ""])]
    seeds = [cells.over_seeds(of, name="") if of else "" for of in differences.values()]
    if any(seeds):
        lines.append(_latex_line(["{\\scriptsize over seeds}", *("" for _ in keys), *_small(seeds), ""]))
    return lines


def _small(texts: Sequence[str]) -> list[str]:
    return [f"{{\\scriptsize ${text}$}}" if text else "" for text in texts]


def _latex_reference(reference: Reference, keys: Sequence[str], compared: int) -> str:
    numbers = [cells.known(reference.metrics.get(key)).replace("-", "--") for key in keys]
    return _latex_line(
        [f"{{\\scriptsize\\textit{{{escape_latex(reference.name)}}}}}", *numbers, *[""] * (compared + 1)]
    )


def _latex_line(texts: Sequence[str]) -> str:
    return " & ".join(texts) + " \\\\"
