"""Oracles: exact fractions, torch's interpolation, and loops over clips in float64."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from cpnet.data import sampling
from cpnet.data.sampling import Interpolate, MeanPool, Pick, Sampling, gather_between, gather_means
from cpnet.errors import ConfigError
from device import DEVICE

POLICIES: list[Callable[..., Sampling]] = [Pick, MeanPool, Interpolate]
sizes = st.integers(1, 60)


def sample(policy: Sampling, rows: NDArray[Any], *, phase: float | None = None) -> tuple[NDArray[np.floating], int]:
    """Sample one video of a table with others around it; return its clips and the number of real ones."""
    other = np.full((3, rows.shape[1]), 77, rows.dtype)
    table = torch.from_numpy(np.concatenate([other, rows, other, np.zeros_like(other[:1])]))
    phases = None if phase is None else torch.tensor([0.3, phase], dtype=torch.float64)
    starts, counts = torch.tensor([0, 3]), torch.tensor([3, len(rows)])
    clips, real = policy(table.to(DEVICE), starts, counts, phase=phases)
    return clips[1].cpu().numpy(), int(real[1])


def numbered(count: int, dtype: Any = np.float32) -> NDArray[Any]:
    """Rows whose first column is their number and whose second is noise."""
    noise = np.random.default_rng(count).normal(size=count)
    return np.stack([np.arange(count), noise], axis=1).astype(dtype)


@given(count=sizes, clips=sizes)
def test_pick_in_evaluation_picks_the_row_in_the_middle_of_each_clip(count: int, clips: int) -> None:
    rows = numbered(count)
    picked, real = sample(Pick(clips=clips), rows)
    assert real == min(count, clips)
    assert picked.shape == (clips, 2)
    for i in range(real):
        phase = Fraction(count - clips, 2 * clips)
        row = math.floor(phase + Fraction(i * count, clips) + Fraction(1, 2)) if count > clips else i
        np.testing.assert_array_equal(picked[i], rows[row])
    assert not picked[real:].any()


@given(count=sizes, clips=sizes, phase=st.floats(0, 1, exclude_max=True))
def test_pick_in_training_stays_inside_each_clip(count: int, clips: int, phase: float) -> None:
    picked, real = sample(Pick(clips=clips), numbered(count), phase=phase)
    rows = picked[:real, 0]
    assert (np.diff(rows) > 0).all()
    for i, row in enumerate(rows):
        if count > clips:
            assert row + 1 > Fraction(i * count, clips) - Fraction(1, 10**9)
            assert row < Fraction((i + 1) * count, clips) + Fraction(1, 10**9)
        else:
            assert row == i


def test_pick_picks_every_row_equally_often_over_all_phases() -> None:
    rows, pick = numbered(30), Pick(clips=10)
    drawn = np.concatenate([sample(pick, rows, phase=phase)[0][:, 0] for phase in np.arange(0, 1, 1 / 3000)])
    np.testing.assert_allclose(np.bincount(drawn.astype(int), minlength=30), 1000, rtol=0.01)
    np.testing.assert_array_equal(sample(pick, rows)[0][:, 0], np.arange(1, 30, 3))


@given(count=sizes, clips=sizes)
def test_mean_pool_is_the_mean_of_the_rows_with_their_centre_in_the_clip(count: int, clips: int) -> None:
    rows = numbered(count)
    pooled, real = sample(MeanPool(clips=clips), rows)
    assert real == clips
    for i in range(clips):
        left, right = Fraction(i * count, clips), Fraction((i + 1) * count, clips)
        inside = [r for r in range(count) if left <= r + Fraction(1, 2) < right]
        if not inside:
            inside = [min(range(count), key=lambda r: (abs(r + Fraction(1, 2) - (left + right) / 2), -r))]
        np.testing.assert_allclose(pooled[i], rows[inside].astype("f8").mean(axis=0), rtol=1e-6, atol=1e-7)


@given(count=sizes, clips=sizes)
def test_interpolate_is_that_of_torch(count: int, clips: int) -> None:
    rows = numbered(count)
    sampled, real = sample(Interpolate(clips=clips), rows)
    expected = torch.nn.functional.interpolate(torch.from_numpy(rows).double().T[None], clips, mode="linear")[0].T
    assert real == clips
    np.testing.assert_allclose(sampled, expected.numpy(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@given(count=sizes, clips=sizes, value=st.floats(-100, 100, width=16))
def test_constant_video_stays_constant(
    policy: Callable[..., Sampling], dtype: Any, count: int, clips: int, value: float
) -> None:
    sampled, real = sample(policy(clips=clips), np.full((count, 3), value, dtype))
    assert sampled.dtype == (dtype if policy is Pick else np.float32)
    assert sampled.shape == (clips, 3)
    np.testing.assert_allclose(sampled[:real], value, rtol=1e-6)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("count", [1, 2, 7, 128])
def test_as_many_rows_as_clips_are_returned_unchanged(policy: Callable[..., Sampling], count: int) -> None:
    rows = numbered(count)
    for phase in (None, 0.0, 0.7):
        sampled, real = sample(policy(clips=count), rows, phase=phase)
        assert real == count
        np.testing.assert_array_equal(sampled, rows)


@pytest.mark.parametrize("policy", POLICIES)
@given(
    counts=st.lists(sizes, min_size=1, max_size=6),
    clips=sizes,
    block=st.sampled_from([1, 64, 200, 1 << 21]),  # bytes: from one clip at a time to all at once
)
def test_batch_matches_its_videos_one_by_one(
    policy: Callable[..., Sampling], counts: list[int], clips: int, block: int
) -> None:
    videos = [numbered(count) for count in counts]
    table = torch.from_numpy(np.concatenate([*videos, np.zeros((1, 2), np.float32)]))
    sizes_, made = torch.tensor(counts), policy(clips=clips)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sampling, "BLOCK_BYTES", block)
        batch, real = made(table, sizes_.cumsum(0) - sizes_, sizes_)
    for pair, rows in enumerate(videos):
        alone, alone_real = sample(made, rows)
        np.testing.assert_allclose(batch[pair].numpy(), alone, rtol=1e-6)
        assert real[pair] == alone_real
    batch.zero_()
    assert torch.equal(table[:-1], torch.from_numpy(np.concatenate(videos)))  # the clips are copies


@pytest.mark.parametrize("policy", POLICIES)
def test_fewer_than_one_clip_is_an_error(policy: Callable[..., Sampling]) -> None:
    with pytest.raises(ConfigError, match=r"sampling\.clips must be 1 or more; got 0"):
        policy(clips=0)


def test_sums_of_16_bit_rows_do_not_overflow() -> None:
    rows = torch.full((4, 2), 60000.0, dtype=torch.float16)
    zero, all_rows = torch.zeros(1, 1, dtype=torch.int64), torch.full((1, 1), 4)
    assert (gather_means(rows, zero, all_rows) == rows[0].float()).all()
    assert (gather_between(rows, zero, zero + 1, torch.ones(1, 1)) == rows[0].float()).all()
    rows[1] *= -1  # 120000 apart
    assert (gather_between(rows, zero, zero + 1, torch.full((1, 1), 0.5)) == 0).all()
