"""Attention over padded sequences. Oracle: each sequence alone."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from cpnet.models.layers.attention import LONGEST_MAP, attention
from models.pairs import mask_of


@pytest.mark.parametrize("steps", [1, 7, LONGEST_MAP, LONGEST_MAP + 3])
def test_attention_and_its_gradient_are_those_of_each_sequence_alone(steps: int) -> None:
    torch.manual_seed(0)
    lengths = [steps, 1, max(1, steps // 2)]
    mask = mask_of(lengths)[:, None, None, :]
    q, k, v = inputs = [torch.randn(3, 2, steps, 4, requires_grad=True) for _ in range(3)]

    def alone(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        rows = []
        for b, length in enumerate(lengths):
            logits = q[b] @ k[b, :, :length].transpose(1, 2) / q.shape[3] ** 0.5
            rows.append(logits.softmax(dim=2) @ v[b, :, :length])
        return torch.stack(rows)

    torchs = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    mixes = [attention(q, k, v, mask), alone(q, k, v), torchs]
    results = [(mixed, *torch.autograd.grad(mixed.sin().sum(), inputs)) for mixed in mixes]
    for found, *expected in zip(*results, strict=True):
        for one in expected:
            torch.testing.assert_close(found, one, atol=1e-4, rtol=1e-4)


def test_attention_keeps_the_dtype_of_the_values() -> None:
    q, k, v = (torch.randn(1, 2, 5, 4).bfloat16() for _ in range(3))
    with torch.autocast("cpu", torch.bfloat16):
        assert attention(q, k, v, mask_of([5])[:, None, None, :]).dtype == torch.bfloat16
