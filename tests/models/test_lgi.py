"""Oracle: the paper's equations in loops, for each pair alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import oracles
from cpnet.batch import GroundingBatch
from cpnet.models import LGI
from cpnet.models.lgi import LGIOutput, RealBatchNorm
from cpnet.options import LGIOptions
from models.pairs import PAIRS, batch, built, padded
from oracles import Array, Weights, linear, part, softmax

PHRASES, HEADS, POSITIONS = 3, 2, 7  # fewer positions than clips
SMALL: dict[str, Any] = {"hidden_dim": 8, "kernel_size": 3, "num_heads": HEADS, "max_length": POSITIONS}


def small(**keys: Any) -> LGI:
    model = built(LGI, LGIOptions(**(SMALL | keys)))
    for name, buffer in model.named_buffers():
        if "running" in name:  # as after some training
            buffer.uniform_(0.5, 1.5)
    return model


def relu(x: Array) -> Array:
    return np.maximum(x, 0)


def attend(logits: Array, values: Array) -> tuple[Array, Array]:
    """Return the weighted sum of the values (1, D), and the weights."""
    a = softmax(logits[:, 0])
    return sum(a[t] * values[t : t + 1] for t in range(len(values))), a


def scores(x: Array, w: Weights) -> Array:
    return linear(np.tanh(linear(x, part(w, "0"))), part(w, "2"))


def phrases_of(words: Array, w: Weights) -> tuple[Array, Array]:
    """Eq. 4-7."""
    half = words.shape[1] // 2
    sentence = np.concatenate([words[-1:, :half], words[:1, half:]], axis=1)
    phrase, phrases, weights = np.zeros_like(sentence), [], []
    for n in range(PHRASES):
        of_sentence = linear(sentence, part(w, f"sentences.{n}"))
        guide = relu(linear(np.concatenate([of_sentence, phrase], axis=1), part(w, "guide")))
        hidden = np.tanh(linear(guide, part(w, "of_guide")) + linear(words, part(w, "of_word")))
        phrase, a = attend(linear(hidden, part(w, "score")), words)
        phrases.append(phrase[0])
        weights.append(a)
    return np.array(phrases), np.array(weights)


def batch_norm(x: Array, w: Weights) -> Array:
    return (x - w["running_mean"]) / np.sqrt(w["running_var"] + 1e-5) * w["weight"] + w["bias"]


def non_local(x: Array, w: Weights) -> Array:
    q, k, v = np.split(linear(x, part(w, "query_key_value")), 3, axis=1)
    size, y = x.shape[1] // HEADS, np.array(x)
    for t in range(len(x)):
        for head in range(HEADS):
            own = slice(head * size, (head + 1) * size)
            a = softmax(np.array([q[t, own] @ k[s, own] / size**0.5 for s in range(len(x))]))
            y[t, own] += sum(a[s] * v[s, own] for s in range(len(x)))
    return y


def interact(video: Array, phrases: Array, w: Weights) -> Array:
    """Segment-level fusion, local context, and global context."""
    weight, x = softmax(scores(phrases, part(w, "score"))[:, 0]), np.zeros_like(video)
    for n in range(PHRASES):
        fusion, local = part(w, f"fusions.{n}"), part(w, f"local.{n}")
        product = relu(linear(video, part(fusion, "of_video"))) * relu(
            linear(phrases[n : n + 1], part(fusion, "of_phrase"))
        )
        fused = relu(linear(product, part(fusion, "product")))
        y = relu(batch_norm(oracles.convolution(fused, part(local, "first")), part(local, "first_norm")))
        y = batch_norm(oracles.convolution(y, part(local, "second")), part(local, "second_norm"))
        x += weight[n] * relu(fused + y)
    for block in range(2):
        x = non_local(x, part(w, f"relations.{block}"))
    return x


def answer(video: Array, query: list[int], w: Weights) -> tuple[Array, Array, Array]:
    """Return span, temporal attention and attention over words."""
    words = oracles.bidirectional(oracles.words(query, w), part(w, "query_encoder"), oracles.lstm)
    phrases, weights = phrases_of(words, part(w, "phrases"))
    positions = np.array([relu(w["video_encoder.positions"][min(t, POSITIONS - 1)]) for t in range(len(video))])
    clips = relu(linear(video, part(w, "video_encoder.embedding.0"))) + positions
    x, last = interact(clips, phrases, part(w, "interactions")), part(w, "regression")
    pooled, a = attend(scores(x, part(last, "score")), x)  # Eq. 13-14
    hidden = relu(linear(linear(pooled, part(last, "embedding")), part(last, "regression.0")))
    return linear(hidden, part(last, "regression.2"))[0], a, weights  # Eq. 15, before its activation


@pytest.mark.parametrize("activation", ["relu", "sigmoid"])
def test_model_is_the_loop(activation: str) -> None:
    model = small(activation=activation)
    last: Any = model.regression.regression[-1]
    nn.init.constant_(last.bias, 0.5)  # spans that ReLU keeps
    output, w = model(batch(PAIRS, more_clips=2, more_words=1)), oracles.weights(model)
    for b, one in enumerate(PAIRS):
        span, a, weights = answer(oracles.array(one.video), one.query, w)
        span = relu(span) if activation == "relu" else 1 / (1 + np.exp(-span))
        np.testing.assert_allclose(oracles.array(output.span[b]), span, atol=1e-9)
        np.testing.assert_allclose(oracles.array(output.ranked[b, 0]), np.sort(span.clip(0, 1)), atol=1e-9)
        assert output.log_attention is not None
        np.testing.assert_allclose(oracles.array(output.log_attention[b, : len(a)].exp()), a, atol=1e-9)
        np.testing.assert_allclose(oracles.array(output.phrase_attention[b, :, : len(one.query)]), weights, atol=1e-9)


def test_loss_is_the_loop() -> None:
    pairs: GroundingBatch = batch(PAIRS, more_clips=1)
    model = small(distinct=0.2)
    output: LGIOutput = model(pairs)
    terms = model.loss(output, pairs)
    assert output.log_attention is not None
    windows = [[(start, end) for start, end in each] for each in pairs.windows.tolist()]
    real = [row[: len(one.video)] for row, one in zip(output.log_attention.tolist(), PAIRS, strict=True)]
    target = [oracles.clip_target(each, len(row)) for each, row in zip(windows, real, strict=True)]
    distinct = 0.0
    for weights in oracles.array(output.phrase_attention):
        for n in range(PHRASES):
            for m in range(PHRASES):
                distinct += (sum(weights[n] * weights[m]) - 0.2 * (n == m)) ** 2 / len(PAIRS)
    assert terms["regression"].item() == pytest.approx(oracles.regression_loss(output.span.tolist(), windows))
    assert terms["attention"].item() == pytest.approx(oracles.attention_loss(real, target, normalizer="target"))
    assert terms["distinct"].item() == pytest.approx(distinct)
    assert terms["loss"].item() == pytest.approx(
        sum(terms[name].item() for name in ("regression", "attention", "distinct"))
    )


@pytest.mark.parametrize("lengths", [[4, 1, 6], [1, 1], [1]])
def test_training_normalises_by_the_real_steps(lengths: list[int]) -> None:
    sequences = [torch.randn(length, 3, dtype=torch.float64) for length in lengths]
    x, mask = padded(sequences, more=2)
    norm = RealBatchNorm(3).double().train()
    real: Tensor = torch.cat(sequences)
    varied = len(real) > 1
    expected = (real - real.mean(dim=0)) / (real.var(dim=0, unbiased=False) + 1e-5).sqrt() if varied else real
    torch.testing.assert_close(norm(x, mask)[mask], expected)
    torch.testing.assert_close(norm.running_mean, 0.1 * real.mean(dim=0) if varied else torch.zeros_like(real[0]))
