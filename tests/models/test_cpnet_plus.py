"""CPNetPlus against loops over pairs, clips and windows."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import oracles
from cpnet.models import CPNetPlus
from cpnet.models.cpnet_plus.head import Answers, assign, lay_out, quality_loss, span_loss
from cpnet.models.cpnet_plus.network import decode
from cpnet.options import CPNetPlusOptions, EncoderOptions
from cpnet.options.models import PLUS_PARTS
from evaluation.reference import iou
from models.pairs import PAIRS, VIDEO_DIM, batch, built, pair

LEVELS, WIDTH = 3, 8


def small_plus(**knobs: Any) -> CPNetPlus:
    small: dict[str, Any] = {
        "hidden_dim": WIDTH,
        "pyramid_levels": LEVELS,
        "patch": 2,
        "encoder": EncoderOptions(kernel_size=3, conv_layers=1, num_heads=2),
    }
    return built(CPNetPlus, CPNetPlusOptions(**(small | knobs)))


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


def mean_of(values: Tensor, weights: list[float]) -> Tensor:
    return sum((w * value for w, value in zip(weights, values, strict=True)), torch.zeros(())) / sum(weights)


@torch.no_grad()
@pytest.mark.parametrize("refine", [False, True])
@pytest.mark.parametrize("patch", [1, 2])
def test_every_step_of_every_level_answers_around_its_centre(patch: int, refine: bool) -> None:
    head, clips = small_plus(without=[] if refine else ["refinement"]).head, [5, 1, 9, 2]
    sizes = [patch * 2**p for p in range(LEVELS)]
    masks = [size * torch.arange(-(-12 // size)) < torch.tensor(clips)[:, None] for size in sizes]
    levels = [torch.randn(*mask.shape, 8, dtype=torch.float64) for mask in masks]
    first, answers = head(levels, lay_out(masks, torch.tensor(clips), patch=patch))
    places = [(p, t) for p, mask in enumerate(masks) for t in range(mask.shape[1])]
    for b, real in enumerate(clips):
        finest = head.norms[0](levels[0][b][masks[0][b]])
        for place, (p, t) in enumerate(places):
            assert bool(answers.steps.mask[b, place]) == bool(masks[p][b, t])
            if not masks[p][b, t]:
                continue
            centre = (t * sizes[p] + min((t + 1) * sizes[p], real)) / 2

            def decoded(before: float, after: float, centre: float = centre, size: int = sizes[p]) -> list[float]:
                return [centre - softplus(before) * size, centre + softplus(after) * size]

            hidden = head.hidden(head.norms[p](levels[p][b, t]))
            before, after, *quality = head.out(hidden.clamp_min(0)).tolist()
            expected = span = decoded(before, after)
            if refine:
                assert head.reading is not None
                assert head.correction is not None
                start, end = (edge / patch for edge in span)  # in steps of the finest level
                inside = [max(0.0, min(end, s + 1) - max(start, s)) for s in range(len(finest))]
                for i, weights in enumerate([tent(start, len(finest)), tent(end, len(finest)), inside]):
                    hidden = hidden + mean_of(head.reading(finest)[:, 8 * i : 8 * i + 8], weights)
                earlier, later, *quality = head.correction(hidden.clamp_min(0)).tolist()
                expected = decoded(before + earlier, after + later)
            np.testing.assert_allclose(first[b, place], np.array(span) / real, atol=1e-6)
            np.testing.assert_allclose(answers.spans[b, place], np.array(expected) / real, atol=1e-6)
            assert [float(answers.logits[b, place])] == pytest.approx([each - 2 for each in quality], abs=1e-5)


def tent(place: float, steps: int) -> list[float]:
    """Weights with which a value at ``place`` is interpolated between the centres of steps."""
    place = min(max(place - 0.5, 0), steps - 1)
    lower = min(int(place), steps - 1)
    return [1 - (place - lower) if s == lower else place - lower if s == lower + 1 else 0.0 for s in range(steps)]


@pytest.mark.parametrize("consensus", [False, True])
def test_the_answer_of_the_highest_score_or_of_most_agreement_comes_first(consensus: bool) -> None:
    torch.manual_seed(3)
    spans, logits = torch.rand(3, 7, 2).double().sort(dim=-1).values * 1.2 - 0.1, torch.rand(3, 7).double()
    spans[0, :3] = torch.tensor([[0.0, 0.1], [0.5, 0.9], [0.52, 0.9]])
    logits[0] = torch.tensor([1.0, 0.95, 0.9, -3, -3, -3, -3])  # two that agree outvote the best
    masks = [torch.arange(7) < torch.tensor([7, 1, 4])[:, None]]
    steps = lay_out(masks, torch.tensor([7, 1, 4]), patch=1)
    ranked, scores = decode(Answers(spans=spans, logits=logits, steps=steps), consensus=consensus)
    differ = 0
    for b, real in enumerate([7, 1, 4]):
        clamped, score = oracles.array(spans[b].clamp(0, 1)), [1 / (1 + math.exp(-x)) for x in logits[b].tolist()]
        agreement = [sum(score[j] ** 8 * iou(clamped[i], clamped[j]) for j in range(real)) for i in range(real)]
        best, agreed = (max(range(real), key=values.__getitem__) for values in (score, agreement))
        differ += best != agreed
        assert ranked[b, 0].tolist() == clamped[agreed if consensus else best].tolist()
        assert float(scores[b, 0]) == pytest.approx(score[best])
        if consensus and best != agreed:
            decayed = [score[agreed] if i == best else score[i] for i in range(real)]
            decayed = [s * math.exp(-(iou(clamped[agreed], clamped[i]) ** 2) / 0.5) for i, s in enumerate(decayed)]
            assert float(scores[b, 1]) == pytest.approx(max(decayed[i] for i in range(real) if i != agreed))
    assert differ > 0


@torch.no_grad()
def test_the_whole_sentence_weighs_channels() -> None:
    gate, lengths = small_plus().gate, [3, 1, 5]
    assert gate is not None
    words, mask = torch.randn(3, 5, WIDTH).double(), torch.arange(5) < torch.tensor(lengths)[:, None]
    steps = torch.randn(3, 4, 2 * VIDEO_DIM).double()  # of two clips each
    gated = gate(steps, words, mask)
    for b, length in enumerate(lengths):
        share = [math.exp(float(gate.importance(word))) for word in words[b, :length]]
        weight = gate.weight(mean_of(words[b, :length], share))
        for t, step in enumerate(steps[b]):
            clips = torch.cat((step[:VIDEO_DIM] * weight, step[VIDEO_DIM:] * weight))
            torch.testing.assert_close(gated[b, t], gate.projection(clips))


@torch.no_grad()
def test_attention_is_the_share_of_clips_in_the_scores_of_the_finest_level() -> None:
    output = small_plus()(batch(PAIRS))
    assert output.log_attention is not None
    for b, clips in enumerate([5, 1, 9, 2]):
        scores = [1 / (1 + math.exp(-float(output.answers.logits[b, t // 2]))) for t in range(clips)]
        expected = [score / sum(scores) for score in scores]
        np.testing.assert_allclose(output.log_attention[b, :clips].exp(), expected, rtol=1e-6)


@pytest.mark.parametrize("radius", [0.5, 1.5])
def test_losses_are_the_loops(radius: float) -> None:
    torch.manual_seed(1)
    spans, logits = torch.rand(2, 6, 2).double().sort(dim=-1).values * 1.5 - 0.2, torch.randn(2, 6).double()
    windows = torch.tensor([[[0.1, 0.3], [0.6, 0.7]], [[0.5, 1.0], [0.5, 1.0]]]).double()
    clips = [3, 2]
    masks = [size * torch.arange(4 // size) < torch.tensor(clips)[:, None] for size in (1, 2)]
    steps = lay_out(masks, torch.tensor(clips), patch=1)
    matched, positive = assign(steps, windows, radius=radius)
    of_spans, of_quality = list[float](), list[float]()
    for b in range(2):
        regressed, scored = [], []
        found, true = oracles.array(spans[b]), oracles.array(windows[b])
        for m, (begin, size) in enumerate([(0, 1), (1, 1), (2, 1), (3, 1), (0, 2), (2, 2)]):
            middle = (begin + min(begin + size, clips[b])) / 2 / clips[b]
            distance, window = min((abs(middle - float(w.mean())), k) for k, w in enumerate(true))
            near = distance <= radius * size / clips[b] and begin < clips[b]
            assert bool(positive[b, m]) == near
            if near:
                target, span = true[window], found[m]
                assert matched[b, m].tolist() == target.tolist()
                hull = max(span[1], target[1]) - min(span[0], target[0])
                regressed.append(1 - iou(span, target) + ((span.mean() - target.mean()) / hull) ** 2)
            if begin < clips[b]:
                p = 1 / (1 + math.exp(-float(logits[b, m])))
                best = max(iou(found[m].clip(0, 1), w) for w in true)
                scored.append(-best * math.log(p) - (1 - best) * math.log(1 - p))
        of_spans.append(float(np.mean(regressed)) if regressed else 0.0)
        of_quality.append(float(np.mean(scored)))
    assert float(span_loss(spans, matched, positive)) == pytest.approx(np.mean(of_spans))
    assert float(quality_loss(Answers(spans=spans, logits=logits, steps=steps), windows)) == pytest.approx(
        np.mean(of_quality)
    )


def test_loss_weighs_its_terms() -> None:
    model = small_plus(quality_weight=3.0)
    windows = torch.tensor([[[0.2, 0.7], [0.1, 0.2]], [[0.0, 1.0], [0.0, 1.0]], [[0.3, 0.31], [0.3, 0.31]]])
    of_pairs = replace(batch(PAIRS[:3], more_clips=3), windows=windows.double())
    terms = model.loss(model(of_pairs), of_pairs)
    expected = terms["span"] + terms["first_span"] + 3 * terms["quality"]
    torch.testing.assert_close(terms["loss"], expected)


@pytest.mark.parametrize("without", [[], ["refinement"]], ids=str)
def test_every_output_of_the_head_learns(without: list[str]) -> None:
    model, pairs = small_plus(without=without), batch(PAIRS)
    (gradient,) = torch.autograd.grad(model.loss(model(pairs), pairs)["loss"], [model.head.out.weight])
    assert gradient.abs().sum(dim=1).min() > 0  # of the distances, and of the score without refinement


@pytest.mark.parametrize("part", PLUS_PARTS[:-1])  # the last, consensus, is tested above
def test_each_part_can_be_left_out(part: str) -> None:
    pairs, whole, without = batch(PAIRS), small_plus(), small_plus(without=[part])
    shared = whole.state_dict()  # without refinement, the head also scores
    own = without.state_dict()
    new = {name for name, value in own.items() if shared[name].shape != value.shape}
    assert new == ({"head.out.weight", "head.out.bias"} if part == "refinement" else set())
    without.load_state_dict({name: value if name in new else shared[name] for name, value in own.items()})
    of_whole, of_rest = ({**m.loss(m(pairs), pairs), "ranked": m(pairs).ranked} for m in (whole, without))
    assert any(name not in of_rest or not torch.equal(value, of_rest[name]) for name, value in of_whole.items())
    torch.autograd.grad(of_rest["loss"], [*without.parameters()])  # raises for a parameter without a gradient


@torch.no_grad()
def test_maps_are_distributions_over_patches_and_returned_on_request_only() -> None:
    model, pairs = small_plus(), batch([pair(9, 2), pair(3, 2)])
    assert model(pairs).maps is None
    maps = model(pairs, return_maps=True).maps
    assert maps is not None
    assert maps.clips_per_step == 2
    assert [m.shape[1] for m in maps.levels] == [5, 3, 2]
    assert maps.query.sum(dim=2)[0].allclose(torch.ones(5, dtype=torch.float64))
    assert all(m.sum(dim=2)[0].allclose(torch.ones(m.shape[1], dtype=torch.float64)) for m in maps.levels)
