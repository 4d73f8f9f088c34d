"""Eq. 4-10 against loops; every sequence is padded with garbage, the loops see each alone."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import oracles
from cpnet.models.cpnet import pyramid as module
from cpnet.models.cpnet.pyramid import ContextAwareModule, ContextualPyramid, DownSampling, upsample
from cpnet.options import CAMOptions
from models.pairs import largest_saved, mask_of, options_of, padded, randomised

WIDTH = 3
LENGTHS = (1, 2, 5, 8)
LONG = 300  # more than module.LONGEST_MAP


def cam_of(**knobs: Any) -> ContextAwareModule:
    return ContextAwareModule(WIDTH, CAMOptions(**knobs))


def pyramid_of(levels: int, **knobs: Any) -> ContextualPyramid:
    return ContextualPyramid(options_of(hidden_dim=WIDTH, encoder={"num_heads": 1}, pyramid_levels=levels, **knobs))


def sequences() -> list[Tensor]:
    torch.manual_seed(2)
    return [torch.randn(length, WIDTH, dtype=torch.float64) for length in LENGTHS]


@pytest.mark.parametrize("diagonal", ["both", "once"])
@pytest.mark.parametrize("scale", [False, True])
@pytest.mark.parametrize("separate_values", [False, True])
@pytest.mark.parametrize("return_map", [False, True])
def test_cam_is_the_loop(diagonal: str, scale: bool, separate_values: bool, return_map: bool) -> None:
    cam = randomised(cam_of(diagonal=diagonal, scale=scale, separate_values=separate_values))
    x, w = sequences(), oracles.weights(cam)
    answers, maps = cam(*padded(x, more=1), return_map=return_map)
    assert (maps is not None) == return_map
    for b, alone in enumerate(map(oracles.array, x)):
        expected = oracles.cam(alone, w, diagonal=diagonal, scale=scale)
        np.testing.assert_allclose(oracles.array(answers[b, : len(alone)]), expected, atol=1e-9)
        if maps is not None:
            m = oracles.array(maps[b])
            np.testing.assert_allclose(
                m[: len(alone), : len(alone)], oracles.correlation(alone, w, scale=scale), atol=1e-9
            )
            assert not m[:, len(alone) :].any()


@pytest.mark.parametrize("diagonal", ["both", "once"])
@pytest.mark.parametrize("separate_values", [False, True])
@pytest.mark.parametrize("rows", [1, 3, 4])
def test_a_map_in_blocks_of_rows_is_the_loop_and_learns_as_a_whole_one(
    diagonal: str, separate_values: bool, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LONGEST_MAP", 2)
    monkeypatch.setattr(module, "ROWS", rows)
    cam = randomised(cam_of(diagonal=diagonal, scale=True, separate_values=separate_values))
    alone, w = sequences(), oracles.weights(cam)
    x, mask = padded(alone, more=1, garbage=1.0)

    def answers() -> tuple[Tensor, ...]:
        leaf = x.clone().requires_grad_()
        answer = cam(leaf, mask)[0]
        return answer.detach(), *torch.autograd.grad(answer[mask].sin().sum(), [leaf, *cam.parameters()])

    found, *gradients = answers()
    for answer, one in zip(found, map(oracles.array, alone), strict=True):
        expected = oracles.cam(one, w, diagonal=diagonal, scale=True)
        np.testing.assert_allclose(oracles.array(answer[: len(one)]), expected, atol=1e-9)
    monkeypatch.setattr(module, "LONGEST_MAP", 10**9)
    torch.testing.assert_close(gradients, [*answers()[1:]], atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("separate_values", [False, True])
def test_no_map_of_a_long_sequence_is_saved_for_the_backward_pass(
    separate_values: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    cam = cam_of(separate_values=separate_values)
    x, mask = torch.randn(1, LONG, WIDTH, requires_grad=True), mask_of([LONG])
    assert largest_saved(lambda: cam(x, mask)[0]) <= LONG * 3 * WIDTH * (WIDTH + 1)
    monkeypatch.setattr(module, "LONGEST_MAP", 10**9)
    assert largest_saved(lambda: cam(x, mask)[0]) >= LONG * LONG


@pytest.mark.parametrize("kind", ["max", "avg", "conv"])
def test_downsampling_is_the_loop(kind: str) -> None:
    downsampling = randomised(DownSampling(WIDTH, kind=kind))
    x, w = sequences(), oracles.weights(downsampling)
    for more in (0, 1, 4):
        coarse, mask = downsampling(*padded(x, more=more))
        assert mask.sum(dim=1).tolist() == [1, 1, 3, 4]
        assert coarse.shape[1] == mask.shape[1] == -(-(max(LENGTHS) + more) // 2)
        for b, alone in enumerate(x):
            expected = oracles.downsampling(oracles.array(alone), w, kind=kind)
            assert mask[b].tolist() == [t < len(expected) for t in range(mask.shape[1])]
            np.testing.assert_allclose(oracles.array(coarse[b, : len(expected)]), expected, atol=1e-9)


@pytest.mark.parametrize("kind", ["max", "avg"])
def test_pooling_leaves_padded_steps_finite(kind: str) -> None:
    coarse, mask = DownSampling(WIDTH, kind=kind)(torch.full((1, 6, WIDTH), -7.0), mask_of([1], more=5))
    assert mask.tolist() == [[True, False, False]]
    assert coarse[0, 0].tolist() == [-7.0] * WIDTH
    assert not coarse[0, 1:].any()


@pytest.mark.parametrize("kind", ["nearest", "linear"])
@pytest.mark.parametrize("factor", [1, 2, 8])
def test_upsampling_is_the_loop(kind: str, factor: int) -> None:
    x = sequences()
    stacked, mask = padded(x, more=2)
    for b, alone in enumerate(map(oracles.array, x)):
        for size in range(1, len(alone) * factor + 1):
            if -(-size // factor) != len(alone):
                continue  # a level has no more steps than cover the finer one
            fine = upsample(stacked, mask, factor=factor, size=size, kind=kind)
            expected = oracles.upsampling(alone, factor=factor, size=size, kind=kind)
            np.testing.assert_allclose(oracles.array(fine[b]), expected, atol=1e-9)


@pytest.mark.parametrize(("downsample", "up"), list(product(["max", "avg", "conv"], ["nearest", "linear"])))
@pytest.mark.parametrize("levels", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("context_aware", [True, False])
def test_pyramid_is_the_loop(downsample: str, up: str, levels: int, context_aware: bool) -> None:
    pyramid = randomised(pyramid_of(levels, downsample=downsample, upsample=up, context_aware=context_aware))
    x, w = sequences(), oracles.weights(pyramid)
    answers, maps = pyramid(*padded(x, more=3))
    assert maps == ()
    knobs = oracles.Knobs(levels=levels, downsample=downsample, upsample=up)
    for b, alone in enumerate(x):
        expected = oracles.pyramid(oracles.array(alone), w, knobs)
        np.testing.assert_allclose(oracles.array(answers[b, : len(alone)]), expected, atol=1e-9)


def test_without_cam_there_are_no_maps_and_no_weights_of_it() -> None:
    pyramid = pyramid_of(3, context_aware=False)
    assert {name.split(".")[0] for name, _ in pyramid.named_parameters()} == {"top_down"}
    assert pyramid(*padded([torch.randn(5, WIDTH)]), return_maps=True)[1] == ()
