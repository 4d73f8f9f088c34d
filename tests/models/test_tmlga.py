"""Oracle: the paper's equations in loops, for each pair alone."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

import oracles
from cpnet.models import TMLGA
from cpnet.models.tmlga import TMLGAOutput, decode, guidance_loss, soft_labels
from cpnet.options import TMLGAOptions
from models.pairs import PAIRS, batch, built, mask_of
from oracles import Array, Weights, linear, part, softmax

WINDOWS = [[0.2, 0.6], [0.0, 1.0]]  # the first ends between two of five clips


def small() -> TMLGA:
    return built(TMLGA, TMLGAOptions(hidden_dim=6))


def answer(video: Array, query: list[int], w: Weights) -> tuple[Array, Array]:
    """Return the attention, and the probabilities of start and end (2, T)."""
    states = oracles.bidirectional(oracles.words(query, w), part(w, "query_encoder"), oracles.gru)
    query_filter = np.tanh(linear(np.array([sum(states) / len(query)]), part(w, "filter")))[0]
    clips = linear(video, part(w, "video_projection"))
    a = softmax(np.array([sum(clip * query_filter) / math.sqrt(len(query)) for clip in clips]))
    states = oracles.bidirectional(a[:, None] * clips, part(w, "localisation"), oracles.gru)
    return a, np.array([softmax(logits) for logits in linear(states, part(w, "boundaries")).T])


def label(clips: int, true: int) -> list[float]:
    powers = [math.exp(-((t - true) ** 2) / 2) for t in range(clips)]
    return [power / sum(powers) for power in powers]


def test_model_is_the_loop() -> None:
    model = small()
    output, w = model(batch(PAIRS, more_clips=2, more_words=1)), oracles.weights(model)
    for b, one in enumerate(PAIRS):
        a, both = answer(oracles.array(one.video), one.query, w)
        clips = len(one.video)
        assert output.log_attention is not None
        np.testing.assert_allclose(oracles.array(output.log_attention[b, :clips].exp()), a, atol=1e-9)
        np.testing.assert_allclose(oracles.array(output.log_boundaries[b, :, :clips].exp()), both, atol=1e-9)
        span = [int(both[0].argmax()) / clips, (int(both[1].argmax()) + 1) / clips]
        assert output.span[b].tolist() == pytest.approx(span)
        assert output.ranked[b].tolist() == [pytest.approx(sorted(span))]


def test_loss_is_the_loop() -> None:
    """Of two windows, the better one counts for the boundaries; the attention may be on both."""
    pairs = batch(PAIRS, more_clips=1)
    pairs = replace(pairs, windows=torch.tensor([WINDOWS], dtype=torch.float64).repeat(len(PAIRS), 1, 1))
    model = small()
    output: TMLGAOutput = model(pairs)
    terms = model.loss(output, pairs)
    boundaries = 0.0
    for logs, one in zip(output.log_boundaries.tolist(), PAIRS, strict=True):
        clips, found = len(one.video), []
        for window in WINDOWS:
            true = [math.floor(window[0] * clips), math.ceil(window[1] * clips) - 1]
            both = [
                (q, log)
                for row, clip in zip(logs, true, strict=True)
                for q, log in zip(label(clips, clip), row, strict=False)
            ]
            found.append(sum(q * (math.log(q) - log) for q, log in both))
        boundaries += min(found) / len(PAIRS)
    assert terms["boundaries"].item() == pytest.approx(boundaries)
    assert terms["attention"].item() == 0  # the second window is the whole video
    assert terms["loss"].item() == pytest.approx(boundaries)


def test_attention_outside_of_the_moment_is_a_loss() -> None:
    attention = [[0.5, 0.3, 0.2], [0.75, 0.25, 0.0]]
    target = torch.tensor([[False, True, False], [True, False, False]])
    expected = -(math.log(1 - 0.5) + math.log(1 - 0.2) + math.log(1 - 0.25)) / 2
    assert guidance_loss(torch.tensor(attention).log(), target).item() == pytest.approx(expected)
    certain = torch.tensor([[0.0, -torch.inf]])  # all attention on one clip outside
    assert guidance_loss(certain, torch.tensor([[False, True]])).isfinite()


def test_a_boundary_is_the_edge_of_its_best_clip() -> None:
    """Four real clips: start at the second, end with the last; then start after the end; then one real clip."""
    best = torch.tensor([[1, 3], [3, 0], [0, 0]])
    scores = torch.nn.functional.one_hot(best, 5).float()
    assert decode(scores, mask_of([4, 4, 1], more=1)).tolist() == [[0.25, 1.0], [0.75, 0.25], [0.0, 1.0]]


def test_labels_stay_in_the_video() -> None:
    """A window beyond the video; and one whose end is the end of the video."""
    windows = torch.tensor([[[-0.5, 2.0]], [[0.5, 1.0]]], dtype=torch.float64)
    labels = soft_labels(windows, mask_of([4, 2], more=1), width=1.0)
    expected = [[label(4, 0), label(4, 3)], [label(2, 1), label(2, 1)]]
    for row, clips, true in zip(labels[:, 0], (4, 2), expected, strict=True):
        np.testing.assert_allclose(oracles.array(row[:, :clips]), true)
        assert not row[:, clips:].any()
