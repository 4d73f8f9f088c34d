"""Oracle: the paper's equations in loops, for each pair alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import oracles
from cpnet.models import ABLR
from cpnet.models.ablr import attention_of_bins
from cpnet.options import ABLROptions
from models.pairs import batch, built, pair
from oracles import Array, Weights, linear, part, softmax

PAIRS = [pair(5, 3), pair(1, 1), pair(8, 2), pair(2, 6)]
BINS = 8


def small(**keys: Any) -> ABLR:
    return built(ABLR, ABLROptions(hidden_dim=6, bins=BINS, regression_dim=3, **keys))


def encode(x: Array, w: Weights) -> Array:
    """Read ahead and backwards, join, ReLU."""
    return np.maximum(linear(oracles.bidirectional(x, part(w, "lstm"), oracles.lstm), part(w, "join")), 0)


def attend(z: Array, g: Array, w: Weights) -> tuple[Array, Array]:
    scores = []
    for step in z:
        hidden = np.tanh(w["step.weight"] @ step + w["guide.weight"] @ g + w["step.bias"])
        scores.append(sum(u * h for u, h in zip(w["score.weight"][0], hidden, strict=True)))
    a = softmax(np.array(scores))
    return np.array(sum(a[t] * z[t] for t in range(len(z)))), a


def bins_of(a: Array) -> Array:
    """Cut each clip into ``BINS`` pieces; ``len(a)`` pieces make a bin."""
    pieces = [each / BINS for each in a for _ in range(BINS)]
    return np.array([sum(pieces[m * len(a) : (m + 1) * len(a)]) for m in range(BINS)])


def test_model_is_the_loop() -> None:
    model = small()
    output, w = model(batch(PAIRS, more_clips=2, more_words=1)), oracles.weights(model)
    for b, one in enumerate(PAIRS):
        v = encode(oracles.array(one.video), part(w, "video_encoder"))
        s = encode(oracles.words(one.query, w), part(w, "query_encoder"))
        clips, _ = attend(v, s.mean(axis=0), part(w, "video_attention"))
        words, _ = attend(s, clips, part(w, "query_attention"))
        _, a = attend(v, words, part(w, "video_attention"))
        hidden = linear(bins_of(a)[None], part(w, "regression.layers.0"))
        span = linear(hidden, part(w, "regression.layers.1"))[0]
        np.testing.assert_allclose(oracles.array(output.log_attention[b, : len(v)].exp()), a, atol=1e-12)
        np.testing.assert_allclose(oracles.array(output.span[b]), span, atol=1e-6)  # bins are cut in float32
        np.testing.assert_allclose(oracles.array(output.ranked[b, 0]), sorted(span.clip(0, 1)), atol=1e-6)


def test_bins_are_the_clips_of_a_video_that_has_as_many() -> None:
    attention, mask = torch.rand(1, BINS + 3), torch.arange(BINS + 3)[None] < BINS
    assert torch.equal(attention_of_bins(attention * mask, mask, BINS), attention[:, :BINS])


def test_loss_is_the_weighted_sum_of_both_terms() -> None:
    model, pairs = small(attention_weight=3.0, regression_weight=0.5), batch(PAIRS)
    output = model(pairs)
    real = [output.log_attention[b, : len(each.video)].tolist() for b, each in enumerate(PAIRS)]
    windows = [[(0.2, 0.7)]] * len(PAIRS)
    target = [oracles.clip_target(windows[0], len(each.video)) for each in PAIRS]
    attention = oracles.attention_loss(real, target, normalizer="target")
    regression = oracles.regression_loss(output.span.tolist(), windows)
    terms = {name: term.item() for name, term in model.loss(output, pairs).items()}
    expected = {"loss": 3 * attention + 0.5 * regression, "attention": attention, "regression": regression}
    assert terms == pytest.approx(expected)
