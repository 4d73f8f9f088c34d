"""Published rows as tables: one for the rows of the same source, conditions and features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from cpnet.evaluation.names import printed_name
from cpnet.evaluation.published import CONDITIONS, PublishedRow


@dataclass(frozen=True)
class PublishedTable:
    """Rows of one source under the same conditions, which the title names, and their texts."""

    rows: Sequence[PublishedRow]

    @property
    def title(self) -> str:
        """Source, and the conditions that it states."""
        first = self.rows[0]
        stated = {"features": first.features, "cut": first.cut, "chosen on": first.selection}
        conditions = [f"{name} {text}" for name, text in stated.items() if text != "unknown"]
        rule = {"True": ["IoU > m"], "False": ["IoU >= m"]}.get(first.strict, [])
        return ", ".join([f"published: {first.source}", *conditions, *rule])

    def cells(self) -> tuple[list[str], list[list[str]]]:
        """Return the heads and the text of each line: name, venue, metrics."""
        keys = sorted({key for row in self.rows for key in row.metrics}, key=lambda key: (key == "mIoU", key))
        lines = [
            [row.name, row.venue, *(f"{row.metrics[key]:.2f}" if key in row.metrics else "-" for key in keys)]
            for row in self.rows
        ]
        return ["", "venue", *map(printed_name, keys)], lines


def published_tables(rows: Sequence[PublishedRow]) -> list[PublishedTable]:
    """Return a table for each run of rows with the same source, conditions and features."""
    grouped = groupby(rows, key=lambda row: [getattr(row, key) for key in CONDITIONS])
    return [PublishedTable([*group]) for _, group in grouped]
