"""Masks and the masked softmax. Oracle: the softmax of the real positions alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import oracles
from cpnet.models.layers.masking import mask_logits, masked_softmax, zero_padding
from models.pairs import mask_of

LOWEST = {
    torch.float16: -65504.0,
    torch.bfloat16: -(2 - 2**-7) * 2.0**127,
    torch.float32: -(2 - 2**-23) * 2.0**127,
    torch.float64: -(2 - 2**-52) * 2.0**1023,
}


@pytest.mark.parametrize("dtype", LOWEST)
def test_masked_logits_are_the_lowest_of_their_dtype(dtype: torch.dtype) -> None:
    masked = mask_logits(torch.zeros(2, dtype=dtype), torch.tensor([True, False]))
    assert masked.dtype == dtype
    assert masked.tolist() == [0.0, LOWEST[dtype]]


@pytest.mark.parametrize("dtype", LOWEST)
@given(logits=st.lists(st.floats(-100, 100), min_size=1, max_size=6), padding=st.integers(0, 4))
def test_softmax_ignores_padding(dtype: torch.dtype, logits: list[float], padding: int) -> None:
    padded = torch.tensor(logits + [1e4] * padding, dtype=dtype)
    mask = mask_of([len(logits)], more=padding)[0]
    alone = oracles.softmax(oracles.array(padded[: len(logits)]))
    for attention in (mask_logits(padded, mask).softmax(dim=0), masked_softmax(padded, mask, dim=0)):
        assert not attention[len(logits) :].any()
        np.testing.assert_allclose(oracles.array(attention[: len(logits)]), alone, atol=4 * torch.finfo(dtype).eps)


@pytest.mark.parametrize("dim", [1, 2])
def test_masked_softmax_and_its_gradient_along_rows_and_columns(dim: int) -> None:
    lengths = [1, 4, 6]
    mask = mask_of(lengths, more=2).unsqueeze(3 - dim)
    logits = torch.randn(3, 8, 8, dtype=torch.float64, requires_grad=True)
    found, expected = masked_softmax(logits, mask, dim=dim), torch.zeros(3, 8, 8, dtype=torch.float64)
    for b, length in enumerate(lengths):
        expected[b].narrow(dim - 1, 0, length).copy_(logits[b].narrow(dim - 1, 0, length).softmax(dim=dim - 1))
    torch.testing.assert_close(found, expected)

    def gradient(of: Tensor) -> Tensor:
        return torch.autograd.grad((of * torch.arange(64).view(8, 8)).sum(), logits, retain_graph=True)[0]

    torch.testing.assert_close(gradient(found), gradient(expected))


@pytest.mark.parametrize(
    ("logits", "expected"),
    [
        *(([extreme, extreme, 0.0, -5.0], [0.5, 0.5, 0.0, 0.0]) for extreme in (1e4, 1e30, 1.6e38, -1.6e38)),
        ([2.0, LOWEST[torch.float32], LOWEST[torch.float32], 2.0], [1.0, 0.0, 0.0, 0.0]),
    ],
)
def test_masked_softmax_of_extreme_logits(logits: list[float], expected: list[float]) -> None:
    mask = torch.tensor([True, True, False, False])
    assert masked_softmax(torch.tensor(logits), mask, dim=0).tolist() == expected


@pytest.mark.parametrize("size", [1.0, 1e37, 1.6e38])
def test_masked_softmax_of_a_row_of_padding_is_finite(size: float) -> None:
    logits = torch.tensor([[-1.0, -2.0, -0.5], [1.0, -1.0, 0.5]]).mul(size / 2).requires_grad_()
    attention = masked_softmax(logits, mask_of([0, 2], more=1), dim=1)
    (gradient,) = torch.autograd.grad(attention.square().sum(), logits)
    assert attention.isfinite().all()
    assert gradient.isfinite().all()


def test_zero_padding_keeps_real_steps_and_dtype() -> None:
    x = torch.randn(2, 3, 2, dtype=torch.bfloat16)
    zeroed = zero_padding(x, mask_of([3, 1]))
    assert zeroed.dtype == torch.bfloat16
    assert torch.equal(zeroed[0], x[0])
    assert torch.equal(zeroed[1, 0], x[1, 0])
    assert not zeroed[1, 1:].any()
