"""Non-maximum suppression. Oracle: a loop over lists of Python numbers."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cpnet.models.layers.ranking import hard, rank, soft
from evaluation import reference

Spans = list[tuple[float, float]]


def slowly(spans: Spans, scores: list[float], number: int, factor: Callable[[float], float]) -> list[tuple[int, float]]:
    """Return place and score of each ranked span; of equal scores the first is best."""

    def lowered(best: int, place: int) -> float:
        return factor(reference.iou(np.array(spans[best]), np.array(spans[place])))

    left = {place: score for place, score in enumerate(scores) if score >= 0}
    found: list[tuple[int, float]] = []
    while left and len(found) < number:
        best = max(left, key=lambda place: (left[place], -place))
        found.append((best, left.pop(best)))
        left = {place: score * lowered(best, place) for place, score in left.items() if lowered(best, place)}
    return found


GRID = st.tuples(st.integers(0, 8), st.integers(0, 8)).map(lambda ends: (min(ends) / 8, max(ends) / 8))
SCORES = st.sampled_from([-1.0, 0.0, 0.25, 0.5, 0.75, 1.0])


@pytest.mark.parametrize("kind", ["hard", "soft"])
@given(candidates=st.lists(st.tuples(GRID, SCORES), min_size=1, max_size=6), number=st.integers(1, 7))
def test_ranked_spans_are_those_of_a_loop(
    kind: str, candidates: list[tuple[tuple[float, float], float]], number: int
) -> None:
    spans, scores = [span for span, _ in candidates], [score for _, score in candidates]
    factor = (lambda iou: float(iou <= 0.5)) if kind == "hard" else (lambda iou: math.exp(-(iou**2) / 0.9))
    expected = slowly(spans, scores, number, factor)
    beside = [(0.0, 0.5)] * len(spans)  # another pair of the batch
    ranked, found = rank(
        torch.tensor([spans, beside], dtype=torch.float64),
        torch.tensor([scores, [0.5] * len(spans)], dtype=torch.float64),
        number=number,
        decay=hard(0.5) if kind == "hard" else soft(0.9),
    )
    assert found[0].tolist() == pytest.approx([score for _, score in expected] + [-math.inf] * (number - len(expected)))
    places = [place for place, _ in expected]
    if places:
        assert ranked[0].tolist() == [list(spans[place]) for place in places + places[:1] * (number - len(places))]
