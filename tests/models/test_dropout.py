"""The cheaper mask is a dropout: its statistics, its scale, its gradient, its seed."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from cpnet.models import dropout as module
from cpnet.models.dropout import RESOLUTION, Dropout, hashed_bits

PROBABILITIES = [0.001, 0.1, 0.2, 0.5, 0.75, 0.9]
WORD = 0xFFFFFFFF


@pytest.fixture(autouse=True, params=["drawn", "hashed"])
def _bits(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hash of compiled models serves without a compiler, too."""
    monkeypatch.setattr(module, "is_fused", lambda x: request.param == "hashed")


@pytest.mark.parametrize("p", PROBABILITIES)
def test_the_share_of_kept_elements_is_one_minus_p(p: float) -> None:
    torch.manual_seed(3)
    n = 400_000
    kept = (Dropout(p)(torch.ones(n)) != 0).double().mean().item()
    assert abs(kept - (1 - p)) < 5 * math.sqrt(p * (1 - p) / n) + 1 / RESOLUTION


@pytest.mark.parametrize("p", PROBABILITIES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_kept_elements_are_scaled_so_that_the_mean_stays(p: float, dtype: torch.dtype) -> None:
    torch.manual_seed(4)
    n = 200_000
    x = torch.ones(n, dtype=dtype)
    dropped = Dropout(p)(x)
    assert dropped.dtype == dtype
    assert abs(dropped.double().mean().item() - 1) < 5 * math.sqrt(p / (1 - p) / n)
    scales = dropped.unique().tolist()
    assert scales == pytest.approx([0.0, 1 / (1 - p)], rel=2 / RESOLUTION / (1 - p))


def assert_independent(one: Tensor, other: Tensor, p: float) -> None:
    """Two masks agree as often as chance has them agree."""
    agree, share = p**2 + (1 - p) ** 2, (one == other).double().mean().item()
    assert abs(share - agree) < 5 * math.sqrt(agree * (1 - agree) / one.numel())


@pytest.mark.parametrize("p", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("offset", [1, 2, 3, 512])
def test_elements_apart_fall_independently(offset: int, p: float) -> None:
    torch.manual_seed(8)
    kept = Dropout(p)(torch.ones(1 << 18)) != 0
    assert_independent(kept[offset:], kept[:-offset], p)


@pytest.mark.parametrize("p", [0.2, 0.5, 0.9])
def test_draws_are_independent_of_each_other(p: float) -> None:
    torch.manual_seed(9)
    x, dropout = torch.ones(1 << 17), Dropout(p)
    draws = [dropout(x) != 0 for _ in range(4)]
    for i, one in enumerate(draws):
        for other in draws[:i]:
            assert_independent(one, other, p)


def test_neighbours_fall_independently() -> None:
    """Four elements share a draw: any two places of it agree as often as chance has them agree."""
    torch.manual_seed(5)
    n, p = 100_000, 0.3
    kept = (Dropout(p)(torch.ones(n, 4)) != 0).double()
    agree = p**2 + (1 - p) ** 2
    for i in range(4):
        for j in range(i):
            share = (kept[:, i] == kept[:, j]).double().mean().item()
            assert abs(share - agree) < 5 * math.sqrt(agree * (1 - agree) / n)


@given(st.lists(st.integers(0, 7), min_size=0, max_size=4))
def test_any_size_keeps_its_shape(shape: list[int]) -> None:
    x = torch.ones(shape)
    dropped = Dropout(0.5)(x)
    assert dropped.shape == x.shape
    assert ((dropped == 0) | (dropped == 2)).all()


def test_a_transposed_input_is_masked_element_by_element() -> None:
    x = torch.arange(1.0, 36).reshape(5, 7).t()
    dropped = Dropout(0.5)(x)
    assert ((dropped == 0) | (dropped == 2 * x)).all()


def test_the_gradient_is_the_mask() -> None:
    torch.manual_seed(6)
    x = torch.randn(5, 7, requires_grad=True)
    dropped = Dropout(0.2)(x)
    (gradient,) = torch.autograd.grad(dropped.sum(), x)
    torch.testing.assert_close(gradient * x, dropped)
    assert (gradient == 0).any()
    assert (gradient == 0).tolist() == (dropped == 0).tolist()


def test_the_input_is_left_alone() -> None:
    x = torch.ones(9)
    Dropout(0.5)(x)
    assert x.tolist() == [1.0] * 9


@pytest.mark.parametrize("p", [0.0, 0.2, 0.9])
def test_evaluation_is_the_identity(p: float) -> None:
    x = torch.randn(3, 5)
    assert torch.equal(Dropout(p).eval()(x), x)


def test_nothing_is_dropped_with_probability_0() -> None:
    x = torch.randn(3, 5)
    assert torch.equal(Dropout(0.0).train()(x), x)


def test_a_probability_that_rounds_to_1_still_runs() -> None:
    assert Dropout(1 - 1e-9)(torch.ones(100)).isfinite().all()


def test_the_seed_decides() -> None:
    x, dropout = torch.ones(1001), Dropout(0.5)
    torch.manual_seed(7)
    first, second = dropout(x), dropout(x)
    torch.manual_seed(7)
    assert torch.equal(dropout(x), first)
    assert not torch.equal(first, second)


def hashed(place: int, seed: int) -> int:
    """``lowbias32`` up to its last xor, which its upper half does not need; without the wrap of 32-bit integers."""
    x = (place * 0x9E3779B9 + seed) & WORD
    x ^= x >> 16
    x = (x * 0x7FEB352D) & WORD
    x ^= x >> 15
    x = (x * 0x846CA68B) & WORD
    upper = x >> 16
    return upper - RESOLUTION if upper >= RESOLUTION // 2 else upper


@pytest.mark.parametrize("seed", [0, 1, 2, 1234])
@pytest.mark.parametrize("shape", [(1,), (700,), (3, 5, 7)])
def test_the_hash_is_the_published_one(shape: tuple[int, ...], seed: int) -> None:
    x = torch.empty(shape)
    torch.manual_seed(seed)
    found = hashed_bits(x)
    torch.manual_seed(seed)
    draw = int(torch.randint(-(2**31), 2**31 - 1, (1,), dtype=torch.int32))
    assert (found.shape, found.dtype) == (x.shape, torch.int32)
    assert found.flatten().tolist() == [hashed(place, draw) for place in range(x.numel())]


def test_the_hash_takes_every_value_about_as_often() -> None:
    torch.manual_seed(10)
    n, cells = 1 << 20, 256
    counts = torch.bincount((hashed_bits(torch.empty(n)) + RESOLUTION // 2) // (RESOLUTION // cells), minlength=cells)
    assert len(counts) == cells
    # Chi-squared with 255 degrees of freedom: 5 sigma are 5 sqrt(2 * 255).
    chi_squared = ((counts - n / cells) ** 2 / (n / cells)).sum().item()
    assert abs(chi_squared - (cells - 1)) < 5 * math.sqrt(2 * (cells - 1))
