"""Recognise published feature packs, which ``published_packs.json`` lists.

``corpus`` is a prefix of dataset names; a pack without it matches any dataset. ``keys`` are the inner datasets of
``hdf5_group``. ``rate`` is the range of rows per second, from frames per row and the corpus's frame rates.
"""

from __future__ import annotations

import json
from pathlib import Path


def resembles(
    *, dataset: str, layout: str, key: str | None, dim: int, rate: float | None
) -> tuple[list[str], list[str]]:
    """Compare layout, inner key and rate of a pack with the published packs of its corpus and width.

    Returns the names of those that match, and a line with the differences for each other, as after a conversion.
    """
    agreeing, differing = [], []
    table = Path(__file__).with_name("published_packs.json").read_text(encoding="utf-8")
    for pack in json.loads(table):
        if pack["dim"] != dim or not dataset.startswith(pack.get("corpus", "")):
            continue
        differences = []
        if layout not in pack["layouts"]:
            differences.append(f"layout {layout}, not {' or '.join(pack['layouts'])}")
        elif layout == "hdf5_group" and key not in pack.get("keys", [key]):
            differences.append(f"key {key}, not {' or '.join(pack['keys'])}")
        least, most = pack.get("rate", (0, float("inf")))
        if rate is not None and not least <= rate <= most:
            differences.append(f"{rate:.2f} rows per second, not {least:g} to {most:g}")
        if differences:
            differing.append(f"{pack['name']}, but: {'; '.join(differences)}")
        else:
            agreeing.append(pack["name"])
    return agreeing, differing
