"""SnAG. Oracle: its equations in loops over points, in float64; its authors' code, see ``benchmarks/equality.py``."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from cpnet.models import SnAG
from cpnet.models.layers.convolution import TimeConv1d
from cpnet.models.snag import FusionLayer, Head, SnAGOutput
from cpnet.options import SnAGOptions
from models.layers.test_transformer import attended, convolved
from models.pairs import batch, built, padded, pair, randomised

SMALL: dict[str, Any] = {"hidden_dim": 8, "text_dim": 4, "num_heads": 2, "text_layers": 1, "levels": 3, "window": 3}


def model_of(**knobs: Any) -> SnAG:
    return built(SnAG, SnAGOptions(**(SMALL | {"regression_range": 2.0} | knobs)))


def points_of(clips: int, levels: int = 3) -> list[tuple[int, int]]:
    """Return level and position of the real points."""
    return [(level, place) for level in range(levels) for place in range(0, clips, 2**level)]


def convolutions(head: Head, x: Tensor) -> Tensor:
    """Apply a head to one level (T, D)."""
    for layer, norm in zip(head.convolutions.convolutions, head.convolutions.norms, strict=True):
        assert isinstance(layer, TimeConv1d)
        x = norm(F.conv1d(x.T, layer.convolution.weight.squeeze(2), padding=1).T).relu()
    last = head.last.convolution
    return F.conv1d(x.T, last.weight.squeeze(2), last.bias, padding=1).T


@pytest.mark.parametrize("normalise", [False, True])
def test_fusion_layer(normalise: bool) -> None:
    layer = randomised(FusionLayer(SnAGOptions(**SMALL, normalise=normalise)))
    x, mask = padded([torch.randn(length, 8, dtype=torch.float64) for length in (6, 2)], more=1)
    words, word_mask = padded([torch.randn(length, 4, dtype=torch.float64) for length in (1, 3)], more=1)
    found = layer(x, mask, words, word_mask)
    for row in range(2):
        inside, text = x[row][mask[row]], layer.text_norm(words[row][word_mask[row]])
        q = layer.query_norm(convolved(layer.convolution.weight, layer.video_norm(inside), 1))
        scale, shift = attended(layer.attention, q, text, text).chunk(2, dim=1)
        deviation = (inside.var(dim=1, unbiased=False, keepdim=True) + 1e-5).sqrt()
        y = ((inside - inside.mean(dim=1, keepdim=True)) / deviation if normalise else inside) * scale + shift
        y = y + layer.branch.scale * layer.feed_forward(layer.feed_forward_norm(y))
        torch.testing.assert_close(found[row][mask[row]], y)


def test_heads_see_one_level_at_a_time() -> None:
    model, clips = model_of(), (7, 4)
    pairs = batch([pair(clips[0], 3), pair(clips[1], 2)], more_clips=2)
    found = model(pairs)
    x, mask = model.video(pairs.video, pairs.video_mask)
    text, text_mask = model.text(model.words(pairs.query), pairs.query_mask)
    for layer in model.fusion:
        x = layer(x, mask, text, text_mask)
    for row, count in enumerate(clips):
        inside, places = model.fused_norm(x[row][mask[row]]), points_of(count)
        spans = list[Tensor]()
        for level in range(3):
            of_level = torch.tensor([p == level for p, _ in places])
            logits = convolutions(model.score, inside[of_level])[:, 0]
            torch.testing.assert_close(found.logits[row][mask[row]][of_level], logits)
            before, after = (convolutions(model.distance, inside[of_level]) * model.level_scale[level]).relu().T
            torch.testing.assert_close(found.offsets[row][mask[row]][of_level], torch.stack((-before, after), dim=1))
            place = torch.tensor([t for p, t in places if p == level])
            ends = (place - before * 2**level, place + after * 2**level)
            spans.extend((torch.stack(ends, dim=1) + 0.5) / count)  # the centre of clip t is (t + 1/2) / n
        assert min((found.span[row] - span).abs().max() for span in spans) < 1e-9


def test_decoding_by_hand() -> None:
    model = model_of(nms_sigma=0.5, voting_iou=0.9, predictions=4)
    # The second and fourth are the same moment; the third is shorter than a tenth of a clip; the last is padding.
    spans = torch.tensor([[[-0.1, 0.4], [0.5, 1.0], [0.3, 0.305], [0.51, 1.0], [0.0, 0.5]]], dtype=torch.float64)
    scores = torch.tensor([[0.6, 0.8, 0.9, 0.5, 0.99]], dtype=torch.float64)
    real = torch.tensor([[True, True, True, True, False]])
    best, ranked, found = model.decode(spans, scores.logit(), real, torch.full((1, 1, 1), 10))
    assert best[0].tolist() == [0.5, 1.0]
    start = (0.8 * 0.5 + 0.5 * 0.51) / 1.3
    assert ranked[0].flatten().tolist() == pytest.approx([start, 1.0, 0.0, 0.4, start, 1.0, 0.3, 0.305])
    assert found[0].tolist() == pytest.approx([0.8, 0.6, 0.5 * math.exp(-((0.49 / 0.5) ** 2) / 0.5), 0.0])


def terms(output: SnAGOutput, windows: Tensor, clips: list[int], model: SnAG) -> tuple[float, float, int]:
    """Sum both losses over all real points."""
    options, score, regression, positives = model.options, 0.0, 0.0, 0
    for row, count in enumerate(clips):
        real = zip(output.logits[row][output.mask[row]], output.offsets[row][output.mask[row]], strict=True)
        for (level, t), (logit, offsets) in zip(points_of(count), real, strict=True):
            stride, losses = 2**level, list[float]()
            for start, end in (windows[row] * count - 0.5).tolist():
                near = abs(t - (start + end) / 2) < options.centre_radius * stride
                least = 0.5 * options.regression_range * 2 ** (level - 1) if level else 0
                most = options.regression_range * stride if level < options.levels - 1 else math.inf
                if not (start < t < end and near and least <= max(t - start, end - t) < most):
                    continue
                a, b = t + float(offsets[0]) * stride, t + float(offsets[1]) * stride
                shared, hull = min(b, end) - max(a, start), max(b, end) - min(a, start)
                iou = shared / (b - a + end - start - shared)
                losses.append(1 - iou + ((a + b - start - end) / 2 / hull) ** 2)
            positives += bool(losses)
            regression += min(losses, default=0)
            p, y = float(logit.sigmoid()), 0.9 if losses else 0.1
            wrong = 1 - (p * y + (1 - p) * (1 - y))
            score -= 0.5 * wrong**2 * (y * math.log(p) + (1 - y) * math.log(1 - p))
    return score, regression, positives


def test_loss_of_one_and_two_windows() -> None:
    model, clips = model_of(positives=10.0), [9, 6, 12]
    plain = batch([pair(count, 2, seed=count) for count in clips], more_clips=1)
    windows = torch.tensor([[[0.1, 0.9], [0.0, 0.2]], [[0.5, 0.8]] * 2, [[0.0, 1.0], [0.3, 0.6]]], dtype=torch.float64)
    for pairs in (replace(plain, windows=windows), replace(plain, windows=windows[:, :1])):
        with torch.no_grad():
            output = model(pairs)
        score, regression, positives = terms(output, pairs.windows, clips, model)
        assert positives > 5
        for _ in range(2):  # evaluation leaves the mean number of positive points alone
            found = {name: float(value) for name, value in model.loss(output, pairs).items()}
            assert found == pytest.approx(
                {"loss": (score + regression) / 10, "score": score / 10, "regression": regression / 10}
            )
    model.train()
    model.loss(model(pairs), pairs)["loss"].backward()  # type: ignore[no-untyped-call]
    assert float(model.positives) == pytest.approx(0.9 * 10 + 0.1 * positives)
    assert all(each.grad is not None for name, each in model.named_parameters() if name != "words.unknown")
