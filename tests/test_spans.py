"""The algebra of spans against loops over numbers, written from the definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from cpnet import spans
from evaluation import reference

SECOND = st.floats(-50, 50, allow_nan=False, width=32)
SPAN = st.tuples(SECOND, SECOND)
FRACTION = st.floats(0, 1, width=32)
# A few clips, so that ends fall on the borders of clips often.
GRID = st.integers(0, 24).map(lambda k: k / 24)


def loop_clips(start: float, end: float, real: int, padded: int) -> list[bool]:
    n = np.float32(real)
    s = min(math.floor(np.float32(start) * n), real - 1)
    e = max(math.ceil(np.float32(end) * n), s + 1)
    return [s <= clip <= e - 1 for clip in range(real + padded)]


def mask(real: int, padded: int) -> Tensor:
    return torch.tensor([[True] * real + [False] * padded])


@given(st.lists(st.tuples(SPAN, SPAN), min_size=1, max_size=8))
def test_iou_is_the_loop(pairs: list[tuple[tuple[float, float], tuple[float, float]]]) -> None:
    predicted, target = torch.tensor(pairs, dtype=torch.float64).unbind(dim=1)
    answer = spans.iou(predicted, target)
    assert answer.dtype == torch.float64
    assert answer.tolist() == pytest.approx([reference.iou(*pair) for pair in np.array(pairs)], abs=1e-12)


def test_iou_broadcasts() -> None:
    predicted = torch.tensor([[[0.0, 4.0], [2.0, 6.0], [7.0, 9.0]]])
    target = torch.tensor([[[2.0, 6.0]], [[7.0, 8.0]]])
    assert spans.iou(predicted, target).tolist() == [
        pytest.approx([1 / 3, 1.0, 0.0]),
        pytest.approx([0.0, 0.0, 0.5]),
    ]


@given(SPAN)
def test_length_is_end_minus_start_and_never_negative(span: tuple[float, float]) -> None:
    expected = max(np.float32(span[1]) - np.float32(span[0]), 0)
    assert spans.length(torch.tensor(span)).item() == expected


@given(st.lists(st.tuples(FRACTION | GRID, FRACTION | GRID), min_size=1), st.integers(1, 24), st.integers(0, 4))
def test_clip_target_is_the_loop(ends: list[tuple[float, float]], real: int, padded: int) -> None:
    windows = [(min(each), max(each)) for each in ends]
    target = spans.clip_target(torch.tensor([windows]), mask(real, padded))
    expected = np.any([loop_clips(*each, real, padded) for each in windows], axis=0)
    assert target[0].tolist() == expected.tolist()


def test_clip_target_counts_the_real_clips_of_each_pair() -> None:
    windows = torch.tensor([[[0.5, 1.0]], [[0.5, 1.0]], [[1.0, 1.0]]])
    target = spans.clip_target(windows, torch.cat([mask(4, 0), mask(2, 2), mask(3, 1)]))
    assert target.int().tolist() == [[0, 0, 1, 1], [0, 1, 0, 0], [0, 0, 1, 0]]


@given(st.tuples(st.floats(-2, 3, width=32), st.floats(-2, 3, width=32)), st.integers(1, 24), st.integers(0, 4))
def test_clip_target_marks_a_real_clip_and_never_a_padded_one(
    ends: tuple[float, float], real: int, padded: int
) -> None:
    target = spans.clip_target(torch.tensor([[sorted(ends)]]), mask(real, padded))[0]
    assert target[:real].any()
    assert not target[real:].any()
