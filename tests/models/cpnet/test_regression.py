"""Eq. 11-13 against loops."""

from __future__ import annotations

import numpy as np
import torch

import oracles
from cpnet.models.cpnet.regression import SelfAttentiveRegression
from models.pairs import padded, randomised


def test_regression_is_the_loop() -> None:
    regression = randomised(SelfAttentiveRegression(6, dropout=0.5))
    z = [torch.randn(length, 6, dtype=torch.float64) for length in (1, 3, 8)]
    spans, log_attention = regression(*padded(z, more=2))
    assert spans.dtype == log_attention.dtype == torch.float64
    for b, alone in enumerate(z):
        span, attention = oracles.regression(oracles.array(alone), oracles.weights(regression))
        np.testing.assert_allclose(oracles.array(spans[b]), span, atol=1e-9)
        np.testing.assert_allclose(oracles.array(log_attention[b, : len(alone)].exp()), attention, atol=1e-9)
        assert not log_attention[b, len(alone) :].exp().any()


def test_log_attention_is_exact_where_attention_underflows() -> None:
    """The loss needs log a where a itself is 0 in float32."""
    regression = SelfAttentiveRegression(2, dropout=0.0).eval()
    with torch.no_grad():
        regression.hidden.weight.fill_(1.0)
        regression.hidden.bias.zero_()
        regression.score.weight.fill_(100.0)
    _, log_attention = regression(torch.tensor([[[9.0, 9.0], [-9.0, -9.0]]]), torch.ones(1, 2, dtype=torch.bool))
    assert log_attention.exp()[0, 1] == 0
    assert log_attention[0].tolist() == [0.0, -200.0]
