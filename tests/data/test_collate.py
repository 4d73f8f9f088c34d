"""Oracle: a batch worked out by hand, and a slow loop over samples of any size."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from corpora import moment
from cpnet.data.collate import collate
from cpnet.data.dataset import Sample

CLIPS, WIDTH = 3, 2


def sample(
    *,
    real: int,
    query: list[int],
    index: int = 0,
    span_sec: tuple[float, float] = (1.0, 4.0),
    duration_sec: float = 10.0,
) -> Sample:
    """The features of clip t are t + 1 plus the sample's number, where it is real."""
    video = np.zeros((CLIPS, WIDTH), np.float32)
    video[:real] = np.arange(1, real + 1)[:, None] + index
    return Sample(video, real, query, moment(str(index), "v", span_sec, duration_sec=duration_sec), index)


def test_every_field_of_a_batch() -> None:
    batch = collate(
        [
            sample(real=2, query=[5], index=7, span_sec=(2.5, 7.5), duration_sec=10.0),
            sample(real=3, query=[4, 1, 6], index=3, span_sec=(0.0, 1.0), duration_sec=4.0),
            sample(real=1, query=[2, 2], index=0, span_sec=(6.0, 9.0), duration_sec=6.5),
        ]
    )
    assert len(batch) == 3
    assert batch.video.tolist() == [
        [[8, 8], [9, 9], [0, 0]],
        [[4, 4], [5, 5], [6, 6]],
        [[1, 1], [0, 0], [0, 0]],
    ]
    assert batch.video_mask.tolist() == [[True, True, False], [True, True, True], [True, False, False]]
    assert batch.query.tolist() == [[5, 0, 0], [4, 1, 6], [2, 2, 0]]
    assert batch.query_mask.tolist() == [[True, False, False], [True, True, True], [True, True, False]]
    assert batch.span_sec.tolist() == [[2.5, 7.5], [0.0, 1.0], [6.0, 9.0]]
    assert batch.duration_sec.tolist() == [10.0, 4.0, 6.5]
    assert batch.index.tolist() == [7, 3, 0]
    # The last one leaves its video: cut in fractions, as annotated in seconds.
    assert batch.span.flatten().tolist() == pytest.approx([0.25, 0.75, 0.0, 0.25, 6 / 6.5, 1.0])


def test_types_are_those_of_the_contract() -> None:
    batch = collate([sample(real=1, query=[3])])
    assert (batch.video.dtype, batch.span.dtype) == (torch.float32, torch.float32)
    assert (batch.span_sec.dtype, batch.duration_sec.dtype) == (torch.float64, torch.float64)
    assert (batch.video_mask.dtype, batch.query_mask.dtype) == (torch.bool, torch.bool)
    assert (batch.query.dtype, batch.index.dtype) == (torch.int64, torch.int64)


def test_seconds_keep_all_their_digits() -> None:
    batch = collate([sample(real=1, query=[3], span_sec=(0.1, 1234.56), duration_sec=2000.7)])
    assert batch.span_sec.tolist() == [[0.1, 1234.56]]
    assert batch.duration_sec.tolist() == [2000.7]


def test_a_query_of_zeros_is_still_masked_as_real() -> None:
    batch = collate([sample(real=1, query=[0, 0]), sample(real=1, query=[0])])
    assert batch.query.tolist() == [[0, 0], [0, 0]]
    assert batch.query_mask.tolist() == [[True, True], [True, False]]


@given(
    st.lists(
        st.tuples(st.integers(1, CLIPS), st.lists(st.integers(1, 9), min_size=1, max_size=6)), min_size=1, max_size=5
    )
)
def test_batches_of_any_size(pairs: list[tuple[int, list[int]]]) -> None:
    batch = collate([sample(real=real, query=query, index=index) for index, (real, query) in enumerate(pairs)])
    longest = max(len(query) for _, query in pairs)
    assert batch.query.shape == (len(pairs), longest)
    for row, (real, query) in enumerate(pairs):
        for t in range(CLIPS):
            assert batch.video_mask[row, t].item() == (t < real)
            assert batch.video[row, t].tolist() == ([t + 1 + row] * WIDTH if t < real else [0] * WIDTH)
        for word in range(longest):
            assert batch.query_mask[row, word].item() == (word < len(query))
            assert batch.query[row, word].item() == (query[word] if word < len(query) else 0)
