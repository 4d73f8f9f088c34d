"""Oracle: loops over single pairs (CPNet, Eq. 15-16)."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import oracles
from cpnet.models.layers.span_losses import attention_loss, regression_loss

LOGITS = st.lists(st.floats(-20, 20), min_size=4, max_size=4)


@pytest.mark.parametrize("normalizer", ["target", "literal"])
@given(
    pairs=st.lists(
        st.tuples(LOGITS, st.lists(st.booleans(), min_size=4, max_size=4).filter(any)), min_size=1, max_size=5
    )
)
def test_attention_loss_equals_loop(normalizer: str, pairs: list[tuple[list[float], list[bool]]]) -> None:
    log_attention = torch.tensor([logits for logits, _ in pairs], dtype=torch.float64).log_softmax(dim=1)
    target = torch.tensor([on for _, on in pairs])
    expected = oracles.attention_loss(log_attention.tolist(), target.tolist(), normalizer=normalizer)
    answer = attention_loss(log_attention, target, normalizer=normalizer)
    assert answer.item() == pytest.approx(expected, abs=1e-9)


@given(st.lists(st.tuples(*[st.floats(-3, 3)] * 6), min_size=1, max_size=5))
def test_regression_loss_equals_loop(pairs: list[tuple[float, ...]]) -> None:
    span, target = [list(six[:2]) for six in pairs], [[(six[2], six[3]), (six[4], six[5])] for six in pairs]
    answer = regression_loss(torch.tensor(span, dtype=torch.float64), torch.tensor(target, dtype=torch.float64))
    assert answer.item() == pytest.approx(oracles.regression_loss(span, target), abs=1e-12)
