"""Dropout in its plain and its compiled form: statistics, scale, gradient and seed."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from cpnet.models.layers.dropout import RESOLUTION, Dropout
from cpnet.training.cpu_forms import FusedDropout, hashed_bits

PROBABILITIES = [0.001, 0.1, 0.2, 0.5, 0.75, 0.9]
WORD = 0xFFFFFFFF

pytestmark = pytest.mark.parametrize("form", [Dropout, FusedDropout])
Form = type[Dropout]


@pytest.mark.parametrize("p", PROBABILITIES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_share_and_scale_of_kept_elements(form: Form, p: float, dtype: torch.dtype) -> None:
    torch.manual_seed(3)
    n = 400_000
    dropped = form(p)(torch.ones(n, dtype=dtype))
    assert dropped.dtype == dtype
    assert abs((dropped != 0).double().mean().item() - (1 - p)) < 5 * math.sqrt(p * (1 - p) / n) + 1 / RESOLUTION
    assert dropped.unique().tolist() == pytest.approx([0.0, 1 / (1 - p)], rel=2 / RESOLUTION / (1 - p))


def assert_independent(one: Tensor, other: Tensor, p: float) -> None:
    """Check that two masks agree as often as chance."""
    agree, share = p**2 + (1 - p) ** 2, (one == other).double().mean().item()
    assert abs(share - agree) < 5 * math.sqrt(agree * (1 - agree) / one.numel())


@pytest.mark.parametrize("p", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("offset", [1, 2, 3, 512])
def test_elements_are_independent_of_their_neighbours(form: Form, offset: int, p: float) -> None:
    torch.manual_seed(8)
    kept = form(p)(torch.ones(1 << 18)) != 0
    assert_independent(kept[offset:], kept[:-offset], p)


@pytest.mark.parametrize("p", [0.2, 0.5, 0.9])
def test_draws_are_independent_of_each_other(form: Form, p: float) -> None:
    torch.manual_seed(9)
    x, dropout = torch.ones(1 << 17), form(p)
    draws = [dropout(x) != 0 for _ in range(4)]
    for i, one in enumerate(draws):
        for other in draws[:i]:
            assert_independent(one, other, p)


@given(st.lists(st.integers(0, 7), min_size=0, max_size=4), st.booleans())
def test_any_shape_is_masked_element_by_element(form: Form, shape: list[int], transposed: bool) -> None:
    x = torch.arange(1.0, 1 + math.prod(shape)).reshape(shape)
    x = x.mT if transposed and len(shape) > 1 else x
    before = x.clone()
    dropped = form(0.5)(x)
    assert dropped.shape == x.shape
    assert ((dropped == 0) | (dropped == 2 * x)).all()
    assert torch.equal(x, before)


def test_the_gradient_is_the_mask(form: Form) -> None:
    torch.manual_seed(6)
    x = torch.randn(5, 7, requires_grad=True)
    dropped = form(0.2)(x)
    (gradient,) = torch.autograd.grad(dropped.sum(), x)
    torch.testing.assert_close(gradient * x, dropped)
    assert (gradient == 0).any()
    assert torch.equal(gradient == 0, dropped == 0)


@pytest.mark.parametrize(("p", "training"), [(0.0, True), (0.0, False), (0.2, False), (0.9, False)])
def test_evaluation_and_probability_0_are_the_identity(form: Form, p: float, training: bool) -> None:
    x = torch.randn(3, 5)
    assert torch.equal(form(p).train(training)(x), x)


def test_a_probability_that_rounds_to_1_is_finite(form: Form) -> None:
    assert form(1 - 1e-9)(torch.ones(100)).isfinite().all()


def test_the_seed_determines_the_mask(form: Form) -> None:
    x, dropout = torch.ones(1001), form(0.5)
    torch.manual_seed(7)
    first, second = dropout(x), dropout(x)
    torch.manual_seed(7)
    assert torch.equal(dropout(x), first)
    assert not torch.equal(first, second)


def published_hash(place: int, seed: int) -> int:
    """``lowbias32`` up to its last xor, which its upper half does not need; without the wrap of 32-bit integers."""
    x = (place * 0x9E3779B9 + seed) & WORD
    x ^= x >> 16
    x = (x * 0x7FEB352D) & WORD
    x ^= x >> 15
    x = (x * 0x846CA68B) & WORD
    upper = x >> 16
    return upper - RESOLUTION if upper >= RESOLUTION // 2 else upper


@pytest.mark.parametrize("shape", [(1,), (700,), (3, 5, 7)])
def test_the_hash_is_the_published_one(form: Form, shape: tuple[int, ...]) -> None:
    x = torch.empty(shape)
    for seed in (0, 1, 2, 1234):
        torch.manual_seed(seed)
        found = hashed_bits(x)
        torch.manual_seed(seed)
        draw = int(torch.randint(-(2**31), 2**31 - 1, (1,), dtype=torch.int32))
        assert (found.shape, found.dtype) == (x.shape, torch.int32)
        assert found.flatten().tolist() == [published_hash(place, draw) for place in range(x.numel())]
