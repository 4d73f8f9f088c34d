"""Oracle: the equations of the paper and of its code in loops, for each pair alone."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import oracles
from cpnet.models import VSLNet
from cpnet.models.vslnet import decode, extended, nearest_clips
from cpnet.options import EncoderOptions, VSLNetOptions
from evaluation.reference import iou
from models.pairs import PAIRS, batch, built, mask_of
from oracles import Array, linear, part, softmax

HEADS = 2


def small(**keys: Any) -> VSLNet:
    encoder = EncoderOptions(kernel_size=3, conv_layers=2, num_heads=HEADS)
    return built(VSLNet, VSLNetOptions(hidden_dim=6, max_length=16, encoder=encoder, **keys))


def logits(video: Array, query: list[int], w: oracles.Weights) -> dict[str, Array]:
    """Return the logits of each clip."""
    v = oracles.encoder(linear(video, part(w, "video_projection.1")), part(w, "encoder"), heads=HEADS)
    q = oracles.encoder(linear(oracles.words(query, w), part(w, "query_projection.1")), part(w, "encoder"), heads=HEADS)
    fused, _, _ = oracles.coattention(v, q, part(w, "coattention"))
    sentence = softmax(linear(q, part(w, "word_weight"))[:, 0]) @ q
    fused = linear(np.concatenate([fused, np.tile(sentence, (len(v), 1))], axis=1), part(w, "sentence_fusion"))
    highlight = linear(fused, part(w, "highlight"))[:, 0]
    x = fused * np.array([[oracles.sigmoid(each)] for each in highlight])
    found, states = {"highlight": highlight}, x
    for name in ("start", "end"):
        states = oracles.lstm(states, part(w, f"predictor.{name}_lstm"))
        hidden = linear(np.concatenate([states, x], axis=1), part(w, f"predictor.{name}.0"))
        found[name] = linear(np.maximum(hidden, 0), part(w, f"predictor.{name}.2"))[:, 0]
    return found


def test_model_is_the_loop() -> None:
    model = small()
    output, w = model(batch(PAIRS, more_clips=2, more_words=1)), oracles.weights(model)
    for b, one in enumerate(PAIRS):
        n = len(one.video)
        for name, expected in logits(oracles.array(one.video), one.query, w).items():
            found = getattr(output, name)[b]
            np.testing.assert_allclose(oracles.array(found[:n]), expected, atol=1e-12)
            assert not found[n:].exp().any()


def clips_of(window: Array, n: int) -> tuple[int, int]:
    pairs = [(i, j) for i in range(n) for j in range(i, n)]
    return max(pairs, key=lambda clips: iou(np.add(clips, (0, 1)) / n, window))


@given(st.integers(1, 9), st.floats(0, 0.99), st.floats(0.001, 2))
def test_nearest_clips_have_the_largest_iou(n: int, start: float, length: float) -> None:
    first, last = nearest_clips(torch.tensor([[[start, start + length]]], dtype=torch.float64), mask_of([n], more=2))
    window = np.array([start, min(1.0, start + length)])  # annotations may end after the video
    found, best = (np.add(ij, (0, 1)) / n for ij in ((first.item(), last.item()), clips_of(window, n)))
    assert iou(found, window) == pytest.approx(iou(best, window), abs=1e-5)  # edges of clips are float32


@pytest.mark.parametrize(
    ("clips", "share", "expected"),
    [
        ([(3, 6)], 0.1, [3, 4, 5, 6]),  # 0.4 clips: none
        ([(3, 8)], 0.1, [2, 3, 4, 5, 6, 7, 8, 9]),  # 0.6 clips: one
        ([(0, 5), (9, 9)], 0.2, [0, 1, 2, 3, 4, 5, 6, 9]),  # 1.2 clips and 0.2 clips; not before the video
        ([(0, 9)], 0.3, list(range(10))),  # nor after it
        ([(4, 4)], 0.0, [4]),
    ],
)
def test_highlighted_clips(clips: list[tuple[int, int]], share: float, expected: list[int]) -> None:
    first, last = torch.tensor(clips).T[:, None]
    assert extended(first, last, mask_of([10], more=3), share)[0].nonzero().flatten().tolist() == expected


def test_loss_is_the_loop() -> None:
    model = small(highlight_weight=3.0)
    true = [[(0.1, 0.45), (0.1, 0.45)], [(0.2, 0.3), (0.0, 1.0)], [(0.0, 0.2), (0.5, 0.95)], [(0.5, 1.0), (0.5, 1.0)]]
    pairs = replace(batch(PAIRS), windows=torch.tensor(true, dtype=torch.float64))
    output = model(pairs)
    boundary, errors = 0.0, []
    for b, one in enumerate(PAIRS):
        n = len(one.video)
        log_start, log_end = (np.log(softmax(oracles.array(getattr(output, name)[b, :n]))) for name in ("start", "end"))
        clips = [clips_of(window, n) for window in np.array(true[b])]
        boundary -= max(log_start[i] + log_end[j] for i, j in clips) / len(PAIRS)
        for t in range(n):
            p, more = oracles.sigmoid(output.highlight[b, t].item()), [round(0.1 * (j - i + 1)) for i, j in clips]
            inside = any(i - e <= t <= j + e for (i, j), e in zip(clips, more, strict=True))
            errors.append(-2 * math.log(p) if inside else -math.log(1 - p))
    highlight = sum(errors) / len(errors)
    terms = {name: term.item() for name, term in model.loss(output, pairs).items()}
    assert terms == pytest.approx({"loss": boundary + 3 * highlight, "boundary": boundary, "highlight": highlight})


def test_decoding_by_hand() -> None:
    """Four clips. Best ends: clips 0 to 2 with 0.5 x 0.5, 1 to 2 and 2 to 2 with 0.1 x 0.5, 3 to 3 with 0.3 x 0.3."""
    start, end = (torch.tensor([p], dtype=torch.float64).log() for p in ([0.5, 0.1, 0.1, 0.3], [0.1, 0.1, 0.5, 0.3]))
    ranked, scores = decode(start, end, torch.ones(1, 4, dtype=torch.bool), number=4, nms_iou=0.5)
    # 1 to 2 has an IoU of 2 / 3 with the first and is left out; the last repeats the first
    assert ranked[0].tolist() == [[0.0, 0.75], [0.75, 1.0], [0.5, 0.75], [0.0, 0.75]]
    assert scores[0].tolist() == pytest.approx([0.25, 0.09, 0.05, -math.inf])


@given(st.data())
def test_the_first_prediction_is_the_most_probable_span(data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 6))
    given_logits = st.lists(st.floats(-200, 200), min_size=n, max_size=n)
    start, end = data.draw(given_logits), data.draw(given_logits)
    padding = [torch.finfo(torch.float64).min] * 2
    found = (torch.tensor([[*each, *padding]], dtype=torch.float64) for each in (start, end))
    ranked, scores = decode(next(found), next(found), mask_of([n], more=2), number=1, nms_iou=0.5)
    p, q = softmax(np.array(start)), softmax(np.array(end))
    i, j = (ranked[0, 0] * n).round().long().tolist()
    assert 0 <= i < j <= n
    best = max(p[a] * q[b] for a in range(n) for b in range(a, n))
    assert scores.item() == pytest.approx(best)
    assert p[i] * q[j - 1] == pytest.approx(best)
