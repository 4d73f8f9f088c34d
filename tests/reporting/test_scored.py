"""Scores of hand-made predictions for queries with two true windows."""

from __future__ import annotations

import pytest

from cpnet.data.moment import Moment
from cpnet.evaluation.matching import Ranked, match
from cpnet.options import MetricsOptions
from cpnet.reporting.scored import DIFFERENCE, means, score, table

TRUE = (1.0, 2.0), (5.0, 9.0)
WRONG = (20.0, 21.0)
MOMENTS = [
    Moment(qid=qid, video=qid, query="he runs", windows_sec=TRUE[:count], duration_sec=30.0)
    for qid, count in (("a", 2), ("b", 1))
]
OPTIONS = MetricsOptions(recall_at=[1, 5], thresholds=[0.5], discounted=False)


def test_average_precision_counts_ten_predictions() -> None:
    ranked: Ranked = {"a": [TRUE[1], WRONG, TRUE[0]], "b": [*[WRONG] * 10, TRUE[0]]}
    scores = score("ours", match(MOMENTS, ranked), MOMENTS, OPTIONS).scores
    assert [*scores] == ["R1@0.5", "R5@0.5", "mIoU", "mAP", "mAP@0.5", "mAP@0.75"]
    assert [each[0] for each in scores.values()] == pytest.approx([1, 1, 1, *[(1 + 2 / 3) / 2] * 3])
    assert not any(each[1] for each in scores.values())


def test_metric_of_one_system_has_no_difference() -> None:
    many: Ranked = {"a": [TRUE[0]] * 5, "b": [WRONG]}
    one: Ranked = {"a": [WRONG], "b": [TRUE[0]]}
    systems = [score(name, match(MOMENTS, each), MOMENTS, OPTIONS) for name, each in (("x", many), ("y", one))]
    heads, lines = table(means(systems, resamples=50), {})
    assert heads == ["", "x", "y", DIFFERENCE]
    cells = {name: [each.split(" ±")[0] for each in row] for name, *row in lines}
    assert (cells["R@1,IoU=0.5"], cells["R@5,IoU=0.5"]) == (["50.00", "50.00", "+0.00"], ["50.00", "-", "-"])
    assert cells["mAP"] == ["25.00", "50.00", "-25.00"]
