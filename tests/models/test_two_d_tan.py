"""2D-TAN against loops over cells of an unbounded map."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

import oracles
from cpnet.models.two_d_tan import TwoDTAN, grid
from cpnet.options import TwoDTANOptions
from models.pairs import batch, built, pair
from oracles import Array, Weights, linear, part

Cell = tuple[int, int]


def model_of(**knobs: Any) -> TwoDTAN:
    return built(TwoDTAN, TwoDTANOptions(**({"hidden_dim": 3, "lstm_layers": 2, "kernel_size": 3} | knobs)))


def is_moment(a: int, b: int) -> bool:
    """The paper's indicator G(a, b)."""
    k = max(1, math.ceil(math.log2((b - a + 1) / 8)))
    s, shift = 2 ** (k - 1), 0 if k == 1 else 2 ** (k + 2) - 1
    return bool(a % s == 0 and (b - shift) % s == 0)


@pytest.mark.parametrize("rows", [1, 16, 18, 64, 128])
def test_grid_has_the_moments_of_the_paper(rows: int) -> None:
    expected = {(a, b) for a in range(rows) for b in range(a, rows) if is_moment(a, b)}
    assert sorted(grid(rows)) == sorted(expected)


def rows_of(clips: Array, rows: int) -> Array:
    """Means over parts of the video: each clip is cut into ``rows`` pieces, of which len(clips) are a part."""
    pieces = np.repeat(clips, rows, axis=0)
    return np.stack([pieces[i * len(clips) : (i + 1) * len(clips)].mean(axis=0) for i in range(rows)])


def convolved(rows: Array, w: Weights) -> dict[Cell, Array]:
    """The features of up to 18 rows: each moment from two that are a row shorter, one of 18 rows from three of 16."""
    found: dict[Cell, Array] = {}
    for a, b in sorted(grid(len(rows)), key=lambda cell: cell[1] - cell[0]):
        length = b - a + 1
        below = [(a, b - 1), (a + 1, b)] if length <= 16 else [(s, s + 15) for s in (a, a + 1, a + 2)]
        inputs = [rows[a]] if length == 1 else [found[cell] for cell in below]
        layer = part(w, f"layers.{min(length, 17) - 1}")
        found[a, b] = layer["bias"] + sum(layer["weight"][:, :, i] @ each for i, each in enumerate(inputs))
    return found


def convolve(cells: dict[Cell, Array], w: Weights, size: int) -> dict[Cell, Array]:
    """Every cell that the kernel reaches: ReLU of the sum, divided by the number of cells that it read."""
    reach = range(-(size // 2), size // 2 + 1)
    reached = {(a + i, b + j) for a, b in cells for i in reach for j in reach}
    out = {}
    for a, b in reached:
        read = [(i, j) for i in reach for j in reach if (a + i, b + j) in cells]
        weight = w["convolution.weight"]
        total = sum(weight[:, :, i + size // 2, j + size // 2] @ cells[a + i, b + j] for i, j in read)
        out[a, b] = np.maximum(total + w["convolution.bias"], 0) / len(read)
    return out


CASES = [
    {"rows": 4, "conv_layers": 1},
    {"rows": 3, "conv_layers": 2, "kernel_size": 5},
    {"rows": 4, "conv_layers": 3, "kernel_size": 1},
    {"rows": 5, "conv_layers": 4},
    {"rows": 18, "conv_layers": 1, "moments": "conv"},
]


@pytest.mark.parametrize("knobs", CASES, ids=str)
def test_scores_are_the_loop(knobs: dict[str, Any]) -> None:
    model = model_of(**knobs)
    w, options = oracles.weights(model), model.options
    given = [pair(1, 2), pair(6, 1), pair(7, 4)]
    output = model(batch(given, more_clips=2, more_words=1))
    for each, found in zip(given, output.logits, strict=True):
        clips = np.maximum(linear(oracles.array(each.video), part(w, "video_projection")), 0)
        rows = rows_of(clips, options.rows)
        states = oracles.words(each.query, w)
        for layer in range(options.lstm_layers):
            states = oracles.lstm(states, part(w, "query_encoder"), layer)
        query = linear(states[-1:], part(w, "query_projection"))[0]
        cells: dict[Cell, Array] = {}
        features = {(a, b): rows[a : b + 1].max(axis=0) for a, b in grid(options.rows)}
        if options.moments == "conv":
            features = convolved(rows, part(w, "features"))
        for (a, b), feature in features.items():
            joint = query * linear(feature[None], part(w, "moment_projection"))[0]
            cells[a, b] = joint / math.sqrt((joint**2).sum())
        for layer in range(options.conv_layers):
            cells = convolve(cells, part(w, f"convolutions.{layer}"), options.kernel_size)
        scores = [linear(cells[cell][None], part(w, "score"))[0, 0] for cell in grid(options.rows)]
        np.testing.assert_allclose(oracles.array(found), scores, atol=1e-9)


def test_loss_is_the_loop_over_moments_and_windows() -> None:
    model = model_of(rows=4, conv_layers=1, min_iou=0.3, max_iou=0.7)
    given = batch([pair(4, 2), pair(5, 3)])
    given = replace(given, windows=torch.tensor([[[0.1, 0.6], [0.7, 1.0]], [[0.25, 0.75], [0.25, 0.75]]]).double())
    output = model(given)
    terms = []
    for logits, windows in zip(output.logits.tolist(), given.windows.tolist(), strict=True):
        for logit, (a, b) in zip(logits, grid(4), strict=True):
            start, end, best = a / 4, (b + 1) / 4, 0.0
            for low, high in windows:
                shared = max(0.0, min(end, high) - max(start, low))
                best = max(best, shared / (end - start + high - low - shared))
            y, p = min(1.0, max(0.0, (best - 0.3) / 0.4)), 1 / (1 + math.exp(-logit))
            terms.append(-(y * math.log(p) + (1 - y) * math.log(1 - p)))
    assert model.loss(output, given)["loss"].item() == pytest.approx(sum(terms) / len(terms), abs=1e-9)


@pytest.mark.parametrize(
    ("nms", "ranked", "logits"),
    [(0.5, [[0, 1], [0.5, 1], [0, 0.5]], [3, 2, 1]), (0.45, [[0, 1], [0, 1], [0, 1]], [3, -math.inf, -math.inf])],
)
def test_halves_of_the_video_are_ranked_behind_it_or_suppressed(
    nms: float, ranked: list[list[float]], logits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = model_of(rows=2, conv_layers=1, nms_iou=nms, predictions=3)
    monkeypatch.setattr(model, "logits", lambda fused: torch.tensor([[1.0, 2.0, 3.0]]).double())  # both halves, whole
    output = model(batch([pair(4, 2)]))
    assert output.ranked[0].tolist() == ranked
    assert output.span[0].tolist() == [0, 1]
    expected = [1 / (1 + math.exp(-each)) if each > 0 else each for each in logits]
    assert output.scores[0].tolist() == pytest.approx(expected)
