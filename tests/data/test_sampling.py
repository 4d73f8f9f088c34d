from __future__ import annotations

import math
import timeit
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from cpnet.data.sampling import Linear, MeanPool, Pick, Sampling

POLICIES: list[Callable[..., Sampling]] = [Pick, MeanPool, Linear]
sizes = st.integers(1, 60)


def sample(sampling: Sampling, rows: NDArray[Any], *, phase: float | None = None) -> tuple[NDArray[np.floating], int]:
    """Sample one video out of a table in which others lie around it, and give its clips and how many are real."""
    other = np.full((3, rows.shape[1]), 77, rows.dtype)
    table = torch.from_numpy(np.concatenate([other, rows, other, np.zeros_like(other[:1])]))
    phases = None if phase is None else torch.tensor([0.3, phase], dtype=torch.float64)
    starts, counts = torch.tensor([0, 3]), torch.tensor([3, len(rows)])
    clips, real = sampling(table, starts, counts, phase=phases)
    return clips[1].numpy(), int(real[1])


def numbered(count: int, dtype: Any = np.float32) -> NDArray[Any]:
    """Rows whose first column is their number and whose second is noise."""
    noise = np.random.default_rng(count).normal(size=count)
    return np.stack([np.arange(count), noise], axis=1).astype(dtype)


@given(count=sizes, clips=sizes)
def test_pick_in_evaluation_takes_the_row_under_the_middle_of_each_clip(count: int, clips: int) -> None:
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


def test_pick_takes_every_row_evenly_over_all_phases() -> None:
    rows, pick = numbered(30), Pick(clips=10)
    drawn = np.concatenate([sample(pick, rows, phase=phase)[0][:, 0] for phase in np.arange(0, 1, 1 / 3000)]).astype(
        int
    )
    np.testing.assert_allclose(np.bincount(drawn, minlength=30), 1000, rtol=0.01)
    np.testing.assert_array_equal(sample(pick, rows)[0][:, 0], np.arange(1, 30, 3))


@given(count=sizes, clips=sizes)
def test_mean_pool_is_the_mean_of_the_rows_whose_centre_lies_in_the_clip(count: int, clips: int) -> None:
    rows = numbered(count)
    pooled, real = sample(MeanPool(clips=clips), rows)
    assert real == clips
    for i in range(clips):
        left, right = Fraction(i * count, clips), Fraction((i + 1) * count, clips)
        inside = [r for r in range(count) if left <= r + Fraction(1, 2) < right]
        if not inside:
            inside = [min(range(count), key=lambda r: (abs(r + Fraction(1, 2) - (left + right) / 2), -r))]
        np.testing.assert_allclose(pooled[i], rows[inside].astype("f8").mean(axis=0), rtol=1e-6, atol=1e-7)


def test_mean_pool_uses_every_row_once() -> None:
    pooled, _ = sample(MeanPool(clips=2), numbered(5))
    assert pooled[:, 0].tolist() == [0.5, 3.0]


@given(count=sizes, clips=sizes)
def test_linear_is_torch_interpolate(count: int, clips: int) -> None:
    rows = numbered(count)
    sampled, real = sample(Linear(clips=clips), rows)
    expected = torch.nn.functional.interpolate(torch.from_numpy(rows).double().T[None], clips, mode="linear")[0].T
    assert real == clips
    np.testing.assert_allclose(sampled, expected.numpy(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@given(count=sizes, clips=sizes, value=st.floats(-100, 100, width=16))
def test_a_constant_stays_constant(
    policy: Callable[..., Sampling], dtype: Any, count: int, clips: int, value: float
) -> None:
    sampled, real = sample(policy(clips=clips), np.full((count, 3), value, dtype))
    assert sampled.dtype == (dtype if policy is Pick else np.float32)
    assert sampled.shape == (clips, 3)
    np.testing.assert_allclose(sampled[:real], value, rtol=1e-6)


@pytest.mark.parametrize("policy", POLICIES)
@given(count=sizes, clips=sizes)
def test_time_runs_forward(policy: Callable[..., Sampling], count: int, clips: int) -> None:
    sampled, real = sample(policy(clips=clips), numbered(count))
    assert (np.diff(sampled[:real, 0]) >= 0).all()


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("count", [1, 2, 7, 128])
def test_as_many_rows_as_clips_is_the_identity(policy: Callable[..., Sampling], count: int) -> None:
    rows = numbered(count)
    for phase in (None, 0.0, 0.7):
        sampled, real = sample(policy(clips=count), rows, phase=phase)
        assert real == count
        np.testing.assert_array_equal(sampled, rows)


@pytest.mark.parametrize("policy", POLICIES)
def test_a_single_row_fills_all_real_clips(policy: Callable[..., Sampling]) -> None:
    sampled, real = sample(policy(clips=4), np.array([[3.0, -1.0]], np.float32))
    assert real == (1 if policy is Pick else 4)
    assert (sampled[:real] == [3.0, -1.0]).all()


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("count", [3, 4, 9])
def test_the_rows_given_are_not_changed_or_shared(policy: Callable[..., Sampling], count: int) -> None:
    table = torch.from_numpy(np.concatenate([numbered(count), np.zeros((1, 2), np.float32)]))
    before = table.clone()
    policy(clips=4)(table, torch.tensor([0]), torch.tensor([count]))[0][:] = 5
    assert torch.equal(table, before)


@pytest.mark.parametrize("policy", POLICIES)
@given(counts=st.lists(sizes, min_size=1, max_size=6), clips=sizes)
def test_a_batch_is_its_videos_one_by_one(policy: Callable[..., Sampling], counts: list[int], clips: int) -> None:
    videos = [numbered(count) for count in counts]
    table = torch.from_numpy(np.concatenate([*videos, np.zeros((1, 2), np.float32)]))
    sizes_, sampling = torch.tensor(counts), policy(clips=clips)
    batch, real = sampling(table, sizes_.cumsum(0) - sizes_, sizes_)
    for pair, rows in enumerate(videos):
        alone, alone_real = sample(sampling, rows)
        np.testing.assert_allclose(batch[pair].numpy(), alone, rtol=1e-6)
        assert real[pair] == alone_real


@pytest.mark.parametrize("policy", POLICIES)
def test_wrong_sizes_are_refused(policy: Callable[..., Sampling]) -> None:
    assert policy().clips == 128
    with pytest.raises(ValueError, match=r"sampling\.clips=0"):
        policy(clips=0)


@pytest.mark.parametrize("policy", POLICIES)
def test_sampling_is_fast(policy: Callable[..., Sampling]) -> None:
    table = torch.from_numpy(np.random.default_rng(0).normal(size=(9001, 157)).astype(np.float32))
    starts, counts, sampling = torch.arange(0, 9000, 90), torch.full((100,), 90), policy(clips=64)
    seconds = min(timeit.repeat(lambda: sampling(table, starts, counts), number=3, repeat=5)) / 3
    assert seconds < 0.1  # about 4 milliseconds for 100 videos; generous for a busy machine
