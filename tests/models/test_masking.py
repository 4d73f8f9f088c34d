"""Masks in every float."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import oracles
from cpnet.models.masking import mask_logits, zero_padding
from models.pairs import mask_of

LOWEST = {
    torch.float16: -65504.0,
    torch.bfloat16: -(2 - 2**-7) * 2.0**127,
    torch.float32: -(2 - 2**-23) * 2.0**127,
    torch.float64: -(2 - 2**-52) * 2.0**1023,
}


@pytest.mark.parametrize("dtype", LOWEST)
def test_masked_logits_are_the_lowest_of_their_own_type(dtype: torch.dtype) -> None:
    masked = mask_logits(torch.zeros(2, dtype=dtype), torch.tensor([True, False]))
    assert masked.dtype == dtype
    assert masked.tolist() == [0.0, LOWEST[dtype]]


@pytest.mark.parametrize("dtype", LOWEST)
@given(logits=st.lists(st.floats(-100, 100), min_size=1, max_size=6), padding=st.integers(0, 4))
def test_a_softmax_sees_only_the_real_ones(dtype: torch.dtype, logits: list[float], padding: int) -> None:
    given_logits = torch.tensor(logits + [1e4] * padding, dtype=dtype)
    attention = mask_logits(given_logits, mask_of([len(logits)], more=padding)[0]).softmax(dim=0)
    alone = oracles.softmax(oracles.array(given_logits[: len(logits)]))
    assert not attention[len(logits) :].any()
    np.testing.assert_allclose(oracles.array(attention[: len(logits)]), alone, atol=4 * torch.finfo(dtype).eps)


def test_zero_padding_keeps_the_real_steps_and_the_type() -> None:
    x = torch.randn(2, 3, 2, dtype=torch.bfloat16)
    zeroed = zero_padding(x, mask_of([3, 1]))
    assert zeroed.dtype == torch.bfloat16
    assert torch.equal(zeroed[0], x[0])
    assert torch.equal(zeroed[1, 0], x[1, 0])
    assert not zeroed[1, 1:].any()
