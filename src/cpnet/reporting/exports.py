"""A report for programs: JSON and CSV."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from cpnet.metrics import printed_name
from cpnet.reporting.runs import Run
from cpnet.reporting.tables import PROTOCOL, Difference, Reference, Report, Row, Table
from cpnet.reporting.variants import portable

Cell = str | int | float | None


def report_json(report: Report) -> dict[str, Any]:
    """Give a report as plain containers, with the folders of this machine."""
    tables = []
    for table in report.tables:
        content = table_json(table, report)
        for kept, row in zip(content["rows"], table.rows, strict=True):
            kept["folders"] = [str(run.folder) for run in row.runs]
        tables.append(content)
    left_out = [{"folder": str(each.folder), "reason": each.reason} for each in report.left_out]
    return {"experiment": report.experiment, "tables": tables, "reasons": list(report.reasons), "left_out": left_out}


def table_json(table: Table, report: Report) -> dict[str, Any]:
    """Give a table as plain containers without a path of this machine."""
    content = {
        "experiment": report.experiment,
        "dataset": table.protocol["dataset"],
        "pairs": table.pairs,
        "protocol": table.protocol,
        "baseline": table.baseline,
        "resamples": report.resamples,
        "rows": [_row_json(row) for row in table.rows],
        "trivial": [asdict(reference) for reference in table.trivial],
        "paper": [asdict(reference) for reference in table.paper],
        "notes": list(table.notes),
    }
    portable_content = _portable(content)
    assert isinstance(portable_content, dict)
    return portable_content


def _row_json(row: Row) -> dict[str, Any]:
    first = row.runs[0].results
    return {
        "name": row.name,
        "model": first["model"],
        "seeds": row.seeds,
        "parameters": first["parameters"],
        "epochs": row.runs[0].config.get("epochs"),
        "validation": [run.results.get("validation") for run in row.runs],
        "metrics": {key: asdict(estimate) for key, estimate in row.estimates.items()},
        "paper": {"model": first["paper_model"], "metrics": first["paper"]},
        "precision": _distinct(row.runs, "precision"),
        "device": _distinct(row.runs, "device"),
        "commits": _distinct(row.runs, "git_commit"),
        "versions": first.get("versions"),
        "seconds": [run.results.get("seconds") for run in row.runs],
    }


def _distinct(runs: Sequence[Run], key: str) -> list[Any]:
    return list(dict.fromkeys(run.results.get(key) for run in runs))


def _portable(value: Any) -> Any:
    if isinstance(value, str):
        return portable(value)
    if isinstance(value, Mapping):
        return {key: _portable(each) for key, each in value.items()}
    return [_portable(each) for each in value] if isinstance(value, list | tuple) else value


def to_csv(report: Report) -> str:
    """Give a report as CSV, a line a row of a table; no text in it is taken for a formula."""
    keys = list(dict.fromkeys(key for table in report.tables for key in table.keys))
    parts = ["mean", "sd", "low", "high", "difference"]
    parts += [f"difference {of}{end}" for of in ("", "seeds ") for end in ("low", "high")]
    heads = ["table", *PROTOCOL, "features", "pairs", "kind", "row", "seeds", "parameters", "epochs"]
    heads += [f"{printed_name(key)} {part}" for key in keys for part in parts]
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(heads)
    for number, table in enumerate(report.tables, start=1):
        rules = [table.protocol.get(key) for key in (*PROTOCOL, "features")]
        for line in _lines(table, keys):
            writer.writerow([_harmless(cell) for cell in (number, *rules, table.pairs, *line)])
    return stream.getvalue()


def _lines(table: Table, keys: Sequence[str]) -> list[list[Cell]]:
    lines = []
    for row in table.rows:
        line: list[Cell] = ["runs", row.name, len(row.runs), row.runs[0].results["parameters"]]
        line.append(row.runs[0].config.get("epochs"))
        for key in keys:
            line += _numbers(row, key)
        lines.append(line)
    for kind, references in (("trivial", table.trivial), ("paper", table.paper)):
        lines += [_reference(kind, each, keys) for each in references]
    return lines


def _numbers(row: Row, key: str) -> list[Cell]:
    of = row.estimates.get(key)
    if of is None:
        return [None] * 9
    to = of.difference
    return [of.mean, of.sd, of.low, of.high, *(_difference(to) if to else [None] * 5)]


def _difference(to: Difference) -> list[Cell]:
    return [to.mean, to.low, to.high, *(to.seeds or (None, None))]


def _reference(kind: str, reference: Reference, keys: Sequence[str]) -> list[Cell]:
    line: list[Cell] = [kind, reference.name, None, None, None]
    for key in keys:
        line += [reference.metrics.get(key), *[None] * 8]
    return line


def _harmless(cell: Any) -> Any:
    # A spreadsheet takes such a text for a formula, and may run it; some also with blanks before it, or wide signs, or
    # behind what they take for the end of a cell.
    if not isinstance(cell, str):
        return cell
    return re.sub(r"(^|[;\t\r\n])(?=\s*[=+\-@＝＋－＠])|^(?=[\t\r\n])", r"\1'", cell)  # noqa: RUF001
