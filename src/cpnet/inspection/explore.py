"""Test pairs of a report, with the attention of its runs if that is asked for."""

from __future__ import annotations

from cpnet.reporting.explorer.pack import Pack, pack, shown_runs
from cpnet.reporting.tables import Report


def explore(report: Report, attention: int | str) -> list[Pack]:
    """Return the test pairs of each table.

    Args:
        report: tables of runs
        attention: number of pairs with the attention of the runs' checkpoints, or ``all``

    Raises:
        DataError: predictions.jsonl of a run has changed and cannot be read
    """
    if not attention:
        return [pack(table) for table in report.tables]
    from cpnet.inspection.attention import look  # imports torch

    pairs = None if attention == "all" else int(attention)
    return [pack(table, look([run for _, run in shown_runs(table)], pairs)) for table in report.tables]
