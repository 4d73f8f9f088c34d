"""Eq. 14-16 against loops."""

from __future__ import annotations

import math
from typing import Any, Literal

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.autograd import gradcheck

import oracles
from cpnet.batch import GroundingBatch, GroundingOutput
from cpnet.losses import GroundingLoss, attention_loss, regression_loss

Normalizer = Literal["target", "literal"]
NORMALIZERS = ("target", "literal")
FRACTION = st.floats(0, 1)
LOGITS = st.lists(st.floats(-20, 20), min_size=4, max_size=4)


def batch_of(spans: list[tuple[float, float]], clips: list[int]) -> GroundingBatch:
    pairs, most = len(spans), max(clips)
    return GroundingBatch(
        video=torch.zeros(pairs, most, 1),
        video_mask=torch.arange(most) < torch.tensor(clips)[:, None],
        query=torch.zeros(pairs, 1, dtype=torch.int64),
        query_mask=torch.ones(pairs, 1, dtype=torch.bool),
        span=torch.tensor(spans, dtype=torch.float64),
        span_sec=torch.tensor(spans, dtype=torch.float64),
        duration_sec=torch.ones(pairs, dtype=torch.float64),
        index=torch.arange(pairs),
    )


def output_of(span: Tensor, log_attention: Tensor) -> GroundingOutput:
    return GroundingOutput(span=span, ranked=span.unsqueeze(1), log_attention=log_attention)


@pytest.mark.parametrize("normalizer", NORMALIZERS)
@given(
    pairs=st.lists(
        st.tuples(LOGITS, st.lists(st.booleans(), min_size=4, max_size=4).filter(any)), min_size=1, max_size=5
    )
)
def test_attention_loss_is_the_loop(normalizer: Normalizer, pairs: list[tuple[list[float], list[bool]]]) -> None:
    log_attention = torch.tensor([logits for logits, _ in pairs], dtype=torch.float64).log_softmax(dim=1)
    target = torch.tensor([on for _, on in pairs])
    expected = oracles.attention_loss(log_attention.tolist(), target.tolist(), normalizer=normalizer)
    answer = attention_loss(log_attention, target, normalizer=normalizer)
    assert answer.item() == pytest.approx(expected, abs=1e-9)


def test_attention_loss_by_hand() -> None:
    log_attention = torch.tensor([[0.5, 0.25, 0.25], [0.1, 0.9, 0.0]]).log()
    target = torch.tensor([[False, True, True], [False, True, False]])
    of_first, of_second = 2 * math.log(4), -math.log(0.9)
    assert attention_loss(log_attention, target).item() == pytest.approx((of_first / 2 + of_second) / 2)
    literal = attention_loss(log_attention, target, normalizer="literal")
    assert literal.item() == pytest.approx((of_first + of_second) / 2)


@given(st.lists(st.tuples(*[st.floats(-3, 3)] * 4), min_size=1, max_size=5))
def test_regression_loss_is_the_loop(pairs: list[tuple[float, float, float, float]]) -> None:
    span, target = [list(four[:2]) for four in pairs], [list(four[2:]) for four in pairs]
    answer = regression_loss(torch.tensor(span, dtype=torch.float64), torch.tensor(target, dtype=torch.float64))
    assert answer.item() == pytest.approx(oracles.regression_loss(span, target), abs=1e-12)


def test_regression_loss_by_hand() -> None:
    span, target = torch.tensor([[0.5, 3.0], [0.0, 1.0]]), torch.tensor([[0.0, 1.0], [0.0, 1.0]])
    assert regression_loss(span, target).item() == pytest.approx((0.125 + 1.5) / 2)


@pytest.mark.parametrize("normalizer", NORMALIZERS)
@given(
    pairs=st.lists(st.tuples(st.integers(1, 9), FRACTION, FRACTION, FRACTION, FRACTION), min_size=1, max_size=4),
    attention_weight=st.floats(0, 3),
    regression_weight=st.floats(0, 3),
)
def test_loss_is_the_loop_over_real_clips(
    normalizer: Normalizer,
    pairs: list[tuple[int, float, float, float, float]],
    attention_weight: float,
    regression_weight: float,
) -> None:
    clips = [pair[0] for pair in pairs]
    true = [(min(pair[1:3]), max(pair[1:3])) for pair in pairs]
    batch = batch_of(true, clips)
    torch.manual_seed(0)
    logits = torch.randn(batch.video_mask.shape, dtype=torch.float64).masked_fill(~batch.video_mask, -1e30)
    span = torch.tensor([pair[3:] for pair in pairs], dtype=torch.float64)
    output = output_of(span, logits.log_softmax(dim=1))

    real = [row[:n] for row, n in zip(output.log_attention.tolist(), clips, strict=True)]
    target = [oracles.clip_target(one, n) for one, n in zip(true, clips, strict=True)]
    attention = oracles.attention_loss(real, target, normalizer=normalizer)
    regression = oracles.regression_loss(span.tolist(), [list(one) for one in true])
    losses = GroundingLoss(
        attention_weight=attention_weight, regression_weight=regression_weight, attention_normalizer=normalizer
    )(output, batch)
    assert losses["attention"].item() == pytest.approx(attention)
    assert losses["regression"].item() == pytest.approx(regression, abs=1e-12)
    expected = attention_weight * attention + regression_weight * regression  # Eq. 14
    assert losses["loss"].item() == pytest.approx(expected, abs=1e-12)


def test_weights_are_1_unless_told() -> None:
    batch = batch_of([(0.2, 0.6)], [5])
    output = output_of(torch.tensor([[0.3, 0.9]], dtype=torch.float64), torch.full((1, 5), math.log(0.2)).double())
    losses = GroundingLoss()(output, batch)
    assert set(losses) == {"loss", "attention", "regression"}
    assert losses["attention"].item() == pytest.approx(math.log(5))
    assert losses["regression"].item() == pytest.approx(0.5 * 0.01 + 0.5 * 0.09)
    assert losses["loss"].item() == pytest.approx(math.log(5) + 0.05)


def test_padding_costs_nothing() -> None:
    """Masked attention has logs as low as the type goes, which must not become NaN in the sum or its gradient."""
    batch = batch_of([(0.0, 1.0), (0.9, 0.9)], [1, 3])
    logits = torch.zeros(2, 3).masked_fill(~batch.video_mask, torch.finfo(torch.float32).min).requires_grad_()
    span = torch.tensor([[0.0, 1.0], [0.9, 0.9]], dtype=torch.float64)
    losses = GroundingLoss()(output_of(span, logits.log_softmax(dim=1)), batch)
    (gradient,) = torch.autograd.grad(losses["loss"], logits)
    assert losses["loss"].item() == pytest.approx(math.log(3) / 2)
    assert gradient.isfinite().all()
    assert not gradient[0].any()


@pytest.mark.parametrize("normalizer", NORMALIZERS)
def test_gradients(normalizer: Normalizer) -> None:
    torch.manual_seed(1)
    batch = batch_of([(0.2, 0.6), (0.0, 0.1), (0.5, 1.0)], [5, 2, 4])
    loss = GroundingLoss(attention_weight=0.7, regression_weight=1.3, attention_normalizer=normalizer)

    def total(span: Tensor, logits: Tensor) -> Tensor:
        masked = logits.masked_fill(~batch.video_mask, -1e30)
        return loss(output_of(span, masked.log_softmax(dim=1)), batch)["loss"]

    span = torch.rand(3, 2, dtype=torch.float64, requires_grad=True)
    logits = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    assert gradcheck(total, (span, logits))


@pytest.mark.parametrize("key", ["attention_weight", "regression_weight"])
@pytest.mark.parametrize("weight", [-1.0, -1e-9, math.nan, math.inf])
def test_impossible_weights_are_refused_by_name(key: str, weight: float) -> None:
    weights: dict[str, Any] = {key: weight}
    with pytest.raises(ValueError, match=rf"loss\.{key} must be .*got {weight}"):
        GroundingLoss(**weights)


def test_unknown_normalizers_are_refused_by_name() -> None:
    unknown: Any = "sum"
    with pytest.raises(ValueError, match=r"loss\.attention_normalizer must be one of target, literal; got 'sum'"):
        GroundingLoss(attention_normalizer=unknown)
