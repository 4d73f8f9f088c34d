from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpnet.grounding.candidates import agreement, basins, soft_nms
from evaluation import reference


@pytest.mark.parametrize(
    ("attention", "parts"),
    [
        ([0.2], [(0, 1)]),
        ([0.1, 0.5, 0.4], [(0, 3)]),
        ([0.4, 0.19, 0.4], [(0, 1), (1, 3)]),
        ([0.4, 0.21, 0.4], [(0, 3)]),  # more than half of the peaks
        ([0.6, 0.1, 0.15, 0.1], [(0, 4)]),  # more than half of the lower peak
        ([0.3, 0.0, 0.3, 0.0, 0.3], [(0, 1), (1, 3), (3, 5)]),
        ([0.0, 0.0, 1.0, 0.0], [(0, 4)]),
        ([0.25] * 4, [(0, 4)]),
    ],
)
def test_basins_by_hand(attention: list[float], parts: list[tuple[int, int]]) -> None:
    assert basins(np.array(attention)) == parts


@given(st.lists(st.floats(0.01, 1), min_size=1, max_size=20), st.floats(0, 0.9), st.floats(0.05, 1))
def test_agreement_is_the_overlap_of_areas_above_chance(weights: list[float], start: float, length: float) -> None:
    """The areas under the attention, with height 1, and under the span, by a sum over a fine grid."""
    attention, end = np.array(weights) / sum(weights), min(1.0, start + length)
    x = (np.arange(100_000) + 0.5) / 100_000
    height = (attention / attention.max())[(x * len(attention)).astype(int)]
    span = ((start <= x) & (x < end)).astype(float)
    soft_iou = np.minimum(height, span).sum() / np.maximum(height, span).sum()
    expected = max(0.0, (soft_iou - span.mean()) / (1 - span.mean())) if end - start < 1 - 1e-6 else 0.0
    assert agreement(np.array([[start, end]]), attention)[0] == pytest.approx(expected, abs=1e-3)


@given(
    st.lists(st.tuples(st.floats(0, 9), st.floats(0.1, 5), st.floats(-1, 1)), min_size=1, max_size=12),
    st.integers(1, 6),
    st.integers(0, 2),
)
def test_soft_nms_is_the_loop(given: list[tuple[float, float, float]], top: int, kept: int) -> None:
    spans = [[start, start + length] for start, length, _ in given]
    ranked = soft_nms(np.array(spans), np.array([score for *_, score in given]), top=top, kept=min(kept, len(given)))
    left = {number: score for number, (*_, score) in enumerate(given)}
    expected = list[tuple[list[float], float]]()
    while left and len(expected) < top:
        best = len(expected) if len(expected) < kept else max(left, key=lambda number: left[number])
        expected.append((spans[best], left.pop(best)))
        for number in left:
            overlap = reference.iou(np.array(spans[best]), np.array(spans[number]))
            decay = 1 if number < kept else np.exp(-(overlap**2) / 0.5)
            left[number] *= decay if left[number] > 0 else 1 / decay  # lower in both cases
    assert [span for span, _ in ranked] == [span for span, _ in expected]
    assert [score for _, score in ranked] == pytest.approx([score for _, score in expected])
