"""Eq. 2-3 against loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import oracles
from cpnet.models.cpnet.coattention import CoAttention
from models.pairs import padded, randomised

WIDTH = 4
LENGTHS = ((1, 1), (5, 1), (1, 4), (7, 3))  # clips, words


@pytest.mark.parametrize("fusion", ["folded", "two_layer"])
def test_coattention_is_the_loop(fusion: str) -> None:
    coattention = randomised(CoAttention(WIDTH, fusion=fusion))
    videos = [torch.randn(clips, WIDTH, dtype=torch.float64) for clips, _ in LENGTHS]
    queries = [torch.randn(words, WIDTH, dtype=torch.float64) for _, words in LENGTHS]
    answers = coattention(*padded(videos, more=2), *padded(queries, more=3))
    w = oracles.weights(coattention)
    for b, (clips, words) in enumerate(LENGTHS):
        fused, s_q, s_v = (oracles.array(answer[b]) for answer in answers)
        expected = oracles.coattention(oracles.array(videos[b]), oracles.array(queries[b]), w)
        np.testing.assert_allclose(fused[:clips], expected[0], atol=1e-9)
        np.testing.assert_allclose(s_q[:clips, :words], expected[1], atol=1e-9)
        np.testing.assert_allclose(s_v[:clips, :words], expected[2], atol=1e-9)
        assert not s_q[:, words:].any()
        assert not s_v[clips:].any()
