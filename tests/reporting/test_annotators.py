"""A column without a pair that counts has no numbers; the others are those of hand-made spans."""

from __future__ import annotations

import json

import numpy as np

from cpnet.data.moment import Moment
from cpnet.evaluation.annotators import match_references
from cpnet.options import MetricsOptions
from cpnet.reporting.annotators import HUMAN, as_json, cells, compare, remarks

MOMENT = Moment(qid="q", video="v", query="he runs", windows_sec=((0.0, 5.0),), duration_sec=10.0)


def test_single_annotators_have_no_agreement() -> None:
    references = match_references([MOMENT], {("v", "he runs"): {"ann": [(0.0, 10.0)]}}, clip=True)
    options = MetricsOptions(thresholds=[0.5])
    columns = compare({"ours": np.array([[2.5, 10.0]])}, references, [MOMENT], options, {}, resamples=10)
    heads, lines = cells(columns)
    assert heads == ["", "ours", "the corpus's annotation", HUMAN]
    assert [line[0] for line in lines[:3]] == ["best: mIoU", "best: R@1,IoU=0.5", "mean: mIoU"]
    assert {line[3] for line in lines} == {"-"}
    assert [cell.split(" ±")[0] for cell in lines[0][1:3]] == ["75.00", "50.00"]
    assert "NaN" not in json.dumps(as_json(columns, references))
    assert remarks(references, 3) == [
        "references: 1 of 3 pairs, 1 to 1 annotators, 1.0 on average",
        "references: 1 pairs have one annotator and do not count for another annotator",
    ]
