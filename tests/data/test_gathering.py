"""The oracles are loops over clips, in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from cpnet.data import gathering
from cpnet.data.gathering import gather_between, gather_means, gather_rows

DTYPES = [np.float16, np.float32]
sizes = st.integers(1, 9)
# From one clip at a time to all at once.
blocks = st.sampled_from([1, 64, 200, 1 << 21])


def table(draw: st.DataObject, dtype: Any) -> NDArray[Any]:
    rows, width = draw.draw(st.integers(1, 30), label="rows"), draw.draw(st.integers(1, 9), label="width")
    scale = draw.draw(st.sampled_from([1.0, 1000.0]), label="scale")
    return (np.random.default_rng(rows * width).normal(size=(rows, width)) * scale).astype(dtype)


def index(draw: st.DataObject, shape: tuple[int, int], rows: int) -> NDArray[np.int64]:
    numbers = draw.draw(
        st.lists(st.integers(0, rows - 1), min_size=shape[0] * shape[1], max_size=shape[0] * shape[1]), label="index"
    )
    return np.array(numbers, np.int64).reshape(shape)


@pytest.mark.parametrize("dtype", DTYPES)
@given(data=st.data(), shape=st.tuples(sizes, sizes))
def test_each_clip_takes_its_row(dtype: Any, data: st.DataObject, shape: tuple[int, int]) -> None:
    rows = table(data, dtype)
    places = index(data, shape, len(rows))
    out = gather_rows(torch.from_numpy(rows), torch.from_numpy(places))
    assert out.numpy().dtype == dtype
    assert out.shape == (*shape, rows.shape[1])
    for place in np.ndindex(shape):
        np.testing.assert_array_equal(out[place].numpy(), rows[places[place]])


@pytest.mark.parametrize("dtype", DTYPES)
@given(data=st.data(), shape=st.tuples(sizes, sizes), block=blocks)
def test_each_clip_lies_between_its_two_rows(
    dtype: Any, data: st.DataObject, shape: tuple[int, int], block: int
) -> None:
    rows = table(data, dtype)
    lower, upper = index(data, shape, len(rows)), index(data, shape, len(rows))
    weight = np.random.default_rng(7).choice([0, 0.25, 0.9, 1.0], size=shape).astype("f4")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gathering, "BLOCK_BYTES", block)
        out = gather_between(*(torch.from_numpy(each) for each in (rows, lower, upper, weight))).numpy()
    assert out.dtype == np.float32
    assert out.shape == (*shape, rows.shape[1])
    for place in np.ndindex(shape):
        below, above = rows[lower[place]].astype("f8"), rows[upper[place]].astype("f8")
        size = np.abs(below).max() + np.abs(above).max()
        np.testing.assert_allclose(out[place], below + (above - below) * weight[place], rtol=0, atol=1e-6 * size)
        if weight[place] == 0 or lower[place] == upper[place]:
            np.testing.assert_array_equal(out[place], below)


@pytest.mark.parametrize("dtype", DTYPES)
@given(data=st.data(), shape=st.tuples(sizes, sizes), block=blocks)
def test_each_clip_is_the_mean_of_its_rows(dtype: Any, data: st.DataObject, shape: tuple[int, int], block: int) -> None:
    rows = table(data, dtype)
    first = index(data, shape, len(rows))
    counts = 1 + index(data, shape, len(rows)) % (len(rows) - first)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gathering, "BLOCK_BYTES", block)
        out = gather_means(*(torch.from_numpy(each) for each in (rows, first, counts))).numpy()
    assert out.dtype == np.float32
    assert out.shape == (*shape, rows.shape[1])
    for place in np.ndindex(shape):
        clip = rows[first[place] : first[place] + counts[place]].astype("f8")
        np.testing.assert_allclose(out[place], clip.mean(0), rtol=0, atol=1e-6 * np.abs(clip).max())
        if len(clip) == 1:
            np.testing.assert_array_equal(out[place], clip[0])


def test_sums_in_16_bits_would_overflow_and_these_do_not() -> None:
    rows = torch.full((4, 2), 60000.0, dtype=torch.float16)
    zero, all_rows = torch.zeros(1, 1, dtype=torch.int64), torch.full((1, 1), 4)
    assert (gather_means(rows, zero, all_rows) == rows[0].float()).all()
    assert (gather_between(rows, zero, zero + 1, torch.ones(1, 1)) == rows[0].float()).all()
    rows[1] *= -1  # 120000 apart
    assert (gather_between(rows, zero, zero + 1, torch.full((1, 1), 0.5)) == 0).all()


@pytest.mark.parametrize(("width", "per_clip"), [(1, 1), (7, 1), (3, 2), (64, 1)])
@pytest.mark.parametrize("clips", [1, 15, 16, 17, 48])
def test_blocks_cover_each_clip_once_and_fit(
    monkeypatch: pytest.MonkeyPatch, clips: int, width: int, per_clip: int
) -> None:
    monkeypatch.setattr(gathering, "BLOCK_BYTES", 4 * 16)
    parts = [range(clips)[part] for part in gathering._blocks(clips, torch.zeros(2, width), per_clip=per_clip)]
    assert [clip for part in parts for clip in part] == list(range(clips))
    assert all(len(part) == 1 or len(part) * width * per_clip <= 16 for part in parts)
