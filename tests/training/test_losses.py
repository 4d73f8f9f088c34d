"""Oracle: loops over single pairs (CPNet, Eq. 14-16)."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import oracles
from cpnet.batch import GroundingBatch, GroundingOutput
from cpnet.data.times import pad_windows
from cpnet.options import LossOptions
from cpnet.training.losses import GroundingLoss

NORMALIZERS = ("target", "literal")
FRACTION, END = st.floats(0, 1), st.floats(-3, 3)
WINDOWS = st.lists(st.tuples(FRACTION, FRACTION).map(lambda ends: (min(ends), max(ends))), min_size=1, max_size=3)


def batch_of(windows: list[list[tuple[float, float]]], clips: list[int]) -> GroundingBatch:
    pairs, most = len(windows), max(clips)
    padded = torch.from_numpy(pad_windows([*map(tuple, windows)])).to(torch.get_default_device())
    return GroundingBatch(
        video=torch.zeros(pairs, most, 1),
        video_mask=torch.arange(most) < torch.tensor(clips)[:, None],
        query=torch.zeros(pairs, 1, dtype=torch.int64),
        query_mask=torch.ones(pairs, 1, dtype=torch.bool),
        windows=padded,
        windows_sec=padded,
        duration_sec=torch.ones(pairs, dtype=torch.float64),
        index=torch.arange(pairs),
    )


def output_of(span: Tensor, log_attention: Tensor) -> GroundingOutput:
    return GroundingOutput(span=span, ranked=span.unsqueeze(1), log_attention=log_attention)


@pytest.mark.parametrize("normalizer", NORMALIZERS)
@given(
    pairs=st.lists(st.tuples(st.integers(1, 9), WINDOWS, END, END), min_size=1, max_size=4),
    attention_weight=st.floats(0, 3),
    regression_weight=st.floats(0, 3),
)
def test_loss_equals_loop_over_real_clips(
    normalizer: str,
    pairs: list[tuple[int, list[tuple[float, float]], float, float]],
    attention_weight: float,
    regression_weight: float,
) -> None:
    clips = [pair[0] for pair in pairs]
    true = [pair[1] for pair in pairs]
    batch = batch_of(true, clips)
    torch.manual_seed(0)
    logits = torch.randn(batch.video_mask.shape, dtype=torch.float64).masked_fill(~batch.video_mask, -1e30)
    span = torch.tensor([pair[2:] for pair in pairs], dtype=torch.float64)
    output = output_of(span, logits.log_softmax(dim=1))

    assert output.log_attention is not None
    real = [row[:n] for row, n in zip(output.log_attention.tolist(), clips, strict=True)]
    target = [oracles.clip_target(one, n) for one, n in zip(true, clips, strict=True)]
    attention = oracles.attention_loss(real, target, normalizer=normalizer)
    regression = oracles.regression_loss(span.tolist(), true)
    options = LossOptions(
        attention_weight=attention_weight, regression_weight=regression_weight, attention_normalizer=normalizer
    )
    losses = GroundingLoss(options)(output, batch)
    assert losses["attention"].item() == pytest.approx(attention)
    assert losses["regression"].item() == pytest.approx(regression, abs=1e-12)
    expected = attention_weight * attention + regression_weight * regression  # Eq. 14
    assert losses["loss"].item() == pytest.approx(expected, abs=1e-12)


def test_padding_adds_no_loss_and_no_nan() -> None:
    """Logs of masked attention are the lowest number of their type."""
    batch = batch_of([[(0.0, 1.0)], [(0.9, 0.9)]], [1, 3])
    logits = torch.zeros(2, 3).masked_fill(~batch.video_mask, torch.finfo(torch.float32).min).requires_grad_()
    span = torch.tensor([[0.0, 1.0], [0.9, 0.9]], dtype=torch.float64)
    losses = GroundingLoss()(output_of(span, logits.log_softmax(dim=1)), batch)
    (gradient,) = torch.autograd.grad(losses["loss"], logits)
    assert losses["loss"].item() == pytest.approx(math.log(3) / 2)
    assert gradient.isfinite().all()
    assert not gradient[0].any()


@pytest.mark.parametrize("key", ["attention_weight", "regression_weight"])
@pytest.mark.parametrize("weight", [-1.0, -1e-9, math.nan, math.inf])
def test_impossible_weight_is_refused_by_key(key: str, weight: float) -> None:
    weights: dict[str, Any] = {key: weight}
    with pytest.raises(ValueError, match=rf"loss\.{key} must be .*got {weight}"):
        GroundingLoss(LossOptions(**weights))


def test_unknown_normalizer_is_refused_by_key() -> None:
    with pytest.raises(ValueError, match=r"loss\.attention_normalizer must be one of target, literal; got 'sum'"):
        GroundingLoss(LossOptions(attention_normalizer="sum"))


def test_missing_attention_is_refused() -> None:
    span = torch.tensor([[0.3, 0.9]])
    with pytest.raises(ValueError, match=r"the model returns no log_attention; implement its method loss"):
        GroundingLoss()(GroundingOutput(span=span, ranked=span[:, None]), batch_of([[(0.2, 0.6)]], [5]))
