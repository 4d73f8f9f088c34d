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


def numbered(count: int, dtype: Any = np.float32) -> NDArray[Any]:
    """Rows whose first column is their number and whose second is noise."""
    noise = np.random.default_rng(count).normal(size=count)
    return np.stack([np.arange(count), noise], axis=1).astype(dtype)


@given(count=sizes, clips=sizes)
def test_pick_in_evaluation_takes_the_row_under_the_middle_of_each_clip(count: int, clips: int) -> None:
    rows = numbered(count)
    picked, real = Pick(clips=clips)(rows)
    assert real == min(count, clips)
    assert picked.shape == (clips, 2)
    for i in range(real):
        phase = Fraction(count - clips, 2 * clips)
        row = math.floor(phase + Fraction(i * count, clips) + Fraction(1, 2)) if count > clips else i
        np.testing.assert_array_equal(picked[i], rows[row])
    assert not picked[real:].any()


@given(count=sizes, clips=sizes, seed=st.integers(0, 99))
def test_pick_in_training_stays_inside_each_clip(count: int, clips: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    picked, real = Pick(clips=clips)(numbered(count), rng=rng)
    rows = picked[:real, 0]
    assert (np.diff(rows) > 0).all()
    for i, row in enumerate(rows):
        if count > clips:
            assert row + 1 > Fraction(i * count, clips) - Fraction(1, 10**9)
            assert row < Fraction((i + 1) * count, clips) + Fraction(1, 10**9)
        else:
            assert row == i


def test_pick_draws_every_row_evenly_in_training_and_repeats_with_its_seed() -> None:
    rows, pick = numbered(30), Pick(clips=10)
    rng = np.random.default_rng(0)
    drawn = np.concatenate([pick(rows, rng=rng)[0][:, 0] for _ in range(3000)]).astype(int)
    np.testing.assert_allclose(np.bincount(drawn, minlength=30), 1000, rtol=0.15)
    again = [pick(rows, rng=np.random.default_rng(7))[0] for _ in range(2)]
    np.testing.assert_array_equal(again[0], again[1])
    np.testing.assert_array_equal(pick(rows)[0][:, 0], np.arange(1, 30, 3))


@given(count=sizes, clips=sizes)
def test_mean_pool_is_the_mean_of_the_rows_whose_centre_lies_in_the_clip(count: int, clips: int) -> None:
    rows = numbered(count)
    pooled, real = MeanPool(clips=clips)(rows)
    assert real == clips
    for i in range(clips):
        left, right = Fraction(i * count, clips), Fraction((i + 1) * count, clips)
        inside = [r for r in range(count) if left <= r + Fraction(1, 2) < right]
        if not inside:
            inside = [min(range(count), key=lambda r: (abs(r + Fraction(1, 2) - (left + right) / 2), -r))]
        np.testing.assert_allclose(pooled[i], rows[inside].astype("f8").mean(axis=0), rtol=1e-6, atol=1e-7)


def test_mean_pool_uses_every_row_once() -> None:
    pooled, _ = MeanPool(clips=2)(numbered(5))
    assert pooled[:, 0].tolist() == [0.5, 3.0]


@given(count=sizes, clips=sizes)
def test_linear_is_torch_interpolate(count: int, clips: int) -> None:
    rows = numbered(count)
    sampled, real = Linear(clips=clips)(rows)
    expected = torch.nn.functional.interpolate(torch.from_numpy(rows).double().T[None], clips, mode="linear")[0].T
    assert real == clips
    np.testing.assert_allclose(sampled, expected.numpy(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@given(count=sizes, clips=sizes, value=st.floats(-100, 100, width=16))
def test_a_constant_stays_constant(
    policy: Callable[..., Sampling], dtype: Any, count: int, clips: int, value: float
) -> None:
    sampled, real = policy(clips=clips)(np.full((count, 3), value, dtype))
    assert sampled.dtype == np.float32
    assert sampled.shape == (clips, 3)
    np.testing.assert_allclose(sampled[:real], value, rtol=1e-6)


@pytest.mark.parametrize("policy", POLICIES)
@given(count=sizes, clips=sizes)
def test_time_runs_forward(policy: Callable[..., Sampling], count: int, clips: int) -> None:
    sampled, real = policy(clips=clips)(numbered(count))
    assert (np.diff(sampled[:real, 0]) >= 0).all()


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("count", [1, 2, 7, 128])
def test_as_many_rows_as_clips_is_the_identity(policy: Callable[..., Sampling], count: int) -> None:
    rows = numbered(count)
    for rng in (None, np.random.default_rng(0)):
        sampled, real = policy(clips=count)(rows, rng=rng)
        assert real == count
        np.testing.assert_array_equal(sampled, rows)


@pytest.mark.parametrize("policy", POLICIES)
def test_a_single_row_fills_all_real_clips(policy: Callable[..., Sampling]) -> None:
    sampled, real = policy(clips=4)(np.array([[3.0, -1.0]], np.float32))
    assert real == (1 if policy is Pick else 4)
    assert (sampled[:real] == [3.0, -1.0]).all()


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("count", [3, 4, 9])
def test_the_rows_given_are_not_changed_or_shared(policy: Callable[..., Sampling], count: int) -> None:
    rows = numbered(count)
    before = rows.copy()
    policy(clips=4)(rows)[0][:] = 5
    np.testing.assert_array_equal(rows, before)


@pytest.mark.parametrize("policy", POLICIES)
def test_wrong_sizes_are_refused(policy: Callable[..., Sampling]) -> None:
    assert policy().clips == 128
    with pytest.raises(ValueError, match=r"sampling\.clips=0"):
        policy(clips=0)
    for shape in ((0, 3), (3,), (2, 2, 2)):
        with pytest.raises(ValueError, match="rows of shape"):
            policy(clips=2)(np.zeros(shape, np.float32))


@pytest.mark.parametrize("policy", POLICIES)
def test_sampling_is_fast(policy: Callable[..., Sampling]) -> None:
    rows = np.random.default_rng(0).normal(size=(90, 157)).astype(np.float32)
    sampling = policy(clips=64)
    seconds = min(timeit.repeat(lambda: sampling(rows), number=20, repeat=5)) / 20
    assert seconds < 1e-3  # about 50 microseconds; generous for a busy machine
