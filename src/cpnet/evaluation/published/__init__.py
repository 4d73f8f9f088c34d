"""Published results by corpus: the rows of papers, each with the conditions that its paper states."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml  # type: ignore[import-untyped]


@dataclass(frozen=True, kw_only=True)
class PublishedRow:
    """A row of a paper's table. A condition that the paper does not state is ``unknown``."""

    source: str  # paper and table
    selection: str  # the split on which the model was chosen
    strict: str  # whether recall counts IoU > m instead of >= m
    name: str  # of the system
    venue: str
    features: str
    metrics: Mapping[str, float]  # in per cent, by key such as ``R1@0.5``


def published_rows(corpus: str) -> list[PublishedRow]:
    """Return the published rows of a corpus, by its name in ``conf/dataset``; none if no paper has its split.

    >>> row = published_rows("tacos")[-1]
    >>> row.source, row.name, row.metrics["R1@0.5"]
    ('CPNet (AAAI 2021), Table 4', 'CPNet', 28.29)
    """
    rows = []
    for path in sorted(Path(__file__).parent.glob("*.yaml")):
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        for table in content["tables"] if corpus in content["corpora"] else []:
            conditions = {key: str(table[key]) for key in ("source", "selection", "strict")}
            for row in table["rows"]:
                named = {key: row.pop(key) for key in ("name", "venue", "features")}
                rows.append(PublishedRow(**conditions, **named, metrics=row))
    return rows
