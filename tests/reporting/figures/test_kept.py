"""Oracle: the numbers of a table written by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.patches import Rectangle

from cpnet.reporting.figures.kept import draw


def row(name: str, values: list[float], *, model: str, minutes: float | None) -> dict[str, Any]:
    mean = sum(values) / len(values)
    return {
        "name": name,
        "model": model,
        "metrics": {"R1@0.3": {}, "mIoU": {"mean": mean, "low": mean - 1, "high": mean + 2, "values": values}},
        "device": ["cpu"],
        "cost": {"training (CPU min)": minutes, "training (min)": 99},
    }


def content(*rows: dict[str, Any]) -> dict[str, Any]:
    references = {"whole video": {"mIoU": 20.0}, "best": {"mIoU": 31.0}, "the paper's cpnet": {"mIoU": 50.0}}
    about = {"experiment": "x", "dataset": "tiny", "pairs": 1200, "protocol": {"selection": "test"}}
    return {**about, "rows": [*rows], "references": references}


def test_rows_have_intervals_seeds_and_costs_beside_the_best_trivial_predictor() -> None:
    rows = row("$a$", [40.0, 44.0], model="a", minutes=20), row("b", [50.0], model="b", minutes=None)
    figure = draw(content(*rows))
    metric, cost = figure.axes
    assert [axes.get_title() for axes in figure.axes] == ["mIoU", "training (CPU min)"]
    assert [label.get_text() for label in metric.get_yticklabels()] == ["$a$", "b"]
    trivial, *drawn = (np.asarray(line.get_xdata()).tolist() for line in metric.lines)
    assert trivial == [31.0, 31.0]
    assert drawn == [[41.0, 44.0], [40.0, 44.0], [42.0], [49.0, 52.0], [50.0]]  # interval, seeds if several, mean
    assert [bar.get_width() for bar in cost.patches if isinstance(bar, Rectangle)] == [20]
    assert [text.get_text() for text in cost.texts] == ["unknown"]
    assert figure.get_suptitle() == "x: tiny (CHOSEN ON TEST), 1,200 pairs, per cent"


def test_rows_of_one_model_have_no_costs() -> None:
    rows = [row(name, [40.0], model="a", minutes=1) for name in "ab"]
    assert len(draw(content(*rows)).axes) == 1
