"""Published results by corpus: the rows of papers, each with the conditions that its paper states."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml  # type: ignore[import-untyped]

CONDITIONS = ("source", "cut", "selection", "strict", "features")  # of a table, or of a row


@dataclass(frozen=True, kw_only=True)
class PublishedRow:
    """A row of a paper's table, or of the page of a public code. What these do not state is ``unknown``."""

    source: str  # paper and table, or public code
    cut: str  # of the corpus into splits
    selection: str  # the split on which the model was chosen
    strict: str  # whether recall counts IoU > m instead of >= m
    features: str
    name: str  # of the system
    venue: str
    metrics: Mapping[str, float]  # in per cent, by key such as ``R1@0.5``


def published_rows(corpus: str, *, features: str | None = None) -> list[PublishedRow]:
    """Return the published rows of a corpus by its name in ``conf/dataset``, of all features or of some.

    >>> row = published_rows("tacos", features="C3D")[-1]
    >>> row.source, row.name, row.metrics["R1@0.5"]
    ('CPNet (AAAI 2021), Table 4', 'CPNet', 28.29)
    """
    rows = []
    for path in sorted(Path(__file__).parent.glob("*.yaml")):
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        for table in content["tables"] if corpus in content["corpora"] else []:
            for row in table["rows"]:
                conditions = {key: str(row.pop(key, table.get(key, "unknown"))) for key in CONDITIONS}
                name, venue = row.pop("name"), row.pop("venue")
                rows.append(PublishedRow(**conditions, name=name, venue=venue, metrics=row))
    return [row for row in rows if features in (None, row.features)]
