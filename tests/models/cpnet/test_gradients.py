"""Gradients of the whole model against finite differences, in float64."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck
from torch.func import functional_call
from torch.nn.utils import parameters_to_vector

from models.pairs import batch, pair, small_model

KNOBS: list[dict[str, Any]] = [
    {},
    {"downsample": "avg", "upsample": "linear", "cam": {"diagonal": "once"}, "fusion": "two_layer"},
    {"downsample": "conv", "cam": {"separate_values": True, "scale": True}, "position": "learned"},
    {"contextual_pyramid": False, "share_fusion_encoder": True},
    {"context_aware": False, "pyramid_levels": 4, "upsample": "linear"},
]
# Word 1 is unknown: its vector is learned. Padding holds small garbage, which must receive no gradient.
PAIRS = [pair(3, 2), replace(pair(2, 3), query=[1, 4, 1])]


@pytest.mark.parametrize("knobs", KNOBS, ids=str)
def test_gradient_of_the_video(knobs: dict[str, Any]) -> None:
    model, pairs = small_model(dtype=torch.float64, **knobs), batch(PAIRS, more_clips=1, garbage=1.0)

    def answer(video: Tensor) -> tuple[Tensor, Tensor]:
        output = model(replace(pairs, video=video))
        return output.span, output.log_attention[pairs.video_mask]

    video = pairs.video.clone().requires_grad_()
    assert gradcheck(answer, (video,))
    span, _ = answer(video)
    (gradient,) = torch.autograd.grad(span.sum(), video)
    assert not gradient[~pairs.video_mask].any()
    assert gradient[pairs.video_mask].all()


@pytest.mark.parametrize("knobs", KNOBS, ids=str)
def test_gradient_of_every_parameter(knobs: dict[str, Any]) -> None:
    """In gradcheck's fast mode: the Jacobian along random directions, those of each part of the model apart."""
    model, pairs = small_model(dtype=torch.float64, **knobs), batch(PAIRS, more_clips=1, garbage=1.0)
    parts = [dict(part.named_parameters(prefix=name)) for name, part in model.named_children()]
    parts = [parameters for parameters in parts if parameters]

    def answer(*vectors: Tensor) -> tuple[Tensor, Tensor]:
        values: dict[str, Tensor] = {}
        for parameters, vector in zip(parts, vectors, strict=True):
            start = 0
            for name, parameter in parameters.items():
                values[name] = vector[start : start + parameter.numel()].view_as(parameter)
                start += parameter.numel()
        output = functional_call(model, values, (pairs,))
        return output.span, output.log_attention[pairs.video_mask]

    torch.manual_seed(0)
    vectors = [parameters_to_vector(parameters.values()).detach().requires_grad_() for parameters in parts]
    assert gradcheck(answer, vectors, fast_mode=True)


@pytest.mark.parametrize("knobs", KNOBS, ids=str)
def test_every_parameter_receives_a_gradient(knobs: dict[str, Any]) -> None:
    model, pairs = (
        small_model(dtype=torch.float64, **knobs),
        batch([pair(20, 5), replace(pair(17, 6), query=[1, 4, 1])]),
    )
    output = model(pairs)
    names, parameters = zip(*model.named_parameters(), strict=True)
    answer = output.span.sum() + output.log_attention[pairs.video_mask].square().sum()
    for name, gradient in zip(names, torch.autograd.grad(answer, parameters), strict=True):
        assert gradient.any(), name
