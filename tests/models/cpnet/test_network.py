"""The whole network against the loops, its ablations and its knobs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import oracles
from cpnet.batch import GroundingBatch
from cpnet.training.losses import GroundingLoss
from models.pairs import PAIRS, batch, pair, small_model

HEADS = 2


@pytest.mark.parametrize(
    "knobs",
    [
        {},
        {"fusion": "two_layer", "position": "learned"},
        {"cam": {"scale": True, "diagonal": "once"}, "downsample": "avg", "upsample": "linear", "pyramid_levels": 8},
        {"cam": {"separate_values": True}, "downsample": "conv", "pyramid_levels": 4},
        {"context_aware": False},
        {"context_aware": False, "downsample": "avg", "upsample": "linear", "pyramid_levels": 4},
        {"contextual_pyramid": False},
        {"share_fusion_encoder": True},
        {"encoder": {"kernel_size": 3, "conv_layers": 2, "num_heads": HEADS}},
        {"centre": True},
    ],
    ids=str,
)
def test_model_is_the_loop(knobs: dict[str, Any]) -> None:
    model = small_model(dtype=torch.float64, **knobs)
    output = model(batch(PAIRS, more_clips=2, more_words=1))
    cam = knobs.get("cam", {})
    of_pyramid = oracles.Knobs(
        levels=knobs.get("pyramid_levels", 3),
        downsample=knobs.get("downsample", "max"),
        upsample=knobs.get("upsample", "nearest"),
        diagonal=cam.get("diagonal", "both"),
        scale=cam.get("scale", False),
    )
    w = oracles.weights(model)
    for b, one in enumerate(PAIRS):
        video = oracles.array(one.video)
        if "centre" in knobs:
            video = (video - video.mean(0)) / max(1e-3, np.sqrt(((video - video.mean(0)) ** 2).mean()))
        span, attention = oracles.cpnet(video, one.query, w, heads=HEADS, knobs=of_pyramid)
        # Positions are a float32 table: agreement ends at its precision.
        np.testing.assert_allclose(oracles.array(output.span[b]), span, atol=1e-6)
        a = oracles.array(output.log_attention[b, : len(one.video)].exp())
        np.testing.assert_allclose(a, attention, atol=1e-6)


def shared_videos() -> GroundingBatch:
    """Five pairs of two videos, the longer of which comes second."""
    videos = batch([pair(5, 1, dtype=torch.float32), pair(9, 1, dtype=torch.float32)], more_clips=1)
    asked = batch([pair(1, words, seed=words, dtype=torch.float32) for words in (3, 1, 4, 2, 6)])
    index = torch.tensor([1, 0, 1, 1, 0])
    return replace(asked, video=videos.video, video_mask=videos.video_mask, video_index=index)


def test_a_video_is_encoded_once_for_all_its_queries() -> None:
    model, rows = small_model(), []

    def count(_: nn.Module, inputs: tuple[Tensor, ...], __: Tensor) -> None:
        rows.append(len(inputs[0]))

    for part in (model.video_projection, model.encoder, model.fusion_encoder):
        part.register_forward_hook(count)
    model(shared_videos())
    assert rows == [2, 2, 5, 5]  # projection, the video's encoder, the query's, the one after fusion


def test_without_the_pyramid_it_has_no_weights_and_no_maps() -> None:
    model = small_model(contextual_pyramid=False)
    assert model.pyramid is None
    assert not any("pyramid" in name for name, _ in model.named_parameters())
    maps = model(batch([pair(4, 2, dtype=torch.float32)]), return_maps=True).maps
    assert maps is not None
    assert maps.levels == ()


def test_maps_are_distributions_and_returned_on_request_only() -> None:
    model, pairs = small_model(), batch([pair(5, 3, dtype=torch.float32), pair(3, 2, dtype=torch.float32)])
    assert model(pairs).maps is None
    output = model(pairs, return_maps=True)
    torch.testing.assert_close(output.span, model(pairs).span)
    assert output.maps is not None
    torch.testing.assert_close(output.maps.query.sum(dim=2), torch.ones(2, 5))
    torch.testing.assert_close(output.maps.video.sum(dim=1), torch.ones(2, 3))
    assert [m.shape[1] for m in output.maps.levels] == [5, 3, 2]


def test_the_second_encoder_has_its_own_weights_unless_shared() -> None:
    own, shared = small_model(), small_model(share_fusion_encoder=True)
    assert shared.fusion_encoder is shared.encoder
    first, second = ({id(p) for p in encoder.parameters()} for encoder in (own.encoder, own.fusion_encoder))
    assert not first & second
    counts = [sum(p.numel() for p in model.parameters()) for model in (own, shared)]
    assert counts[0] - counts[1] == sum(p.numel() for p in own.encoder.parameters())


def test_reversed_predictions_are_swapped_or_kept() -> None:
    swapping, keeping = small_model(order="swap"), small_model(order="none")
    pairs = batch([pair(4, 2, dtype=torch.float32)])
    with torch.no_grad():
        for model in (swapping, keeping):
            last = "regression.regression.3"
            model.get_parameter(f"{last}.weight").zero_()
            model.get_parameter(f"{last}.bias").copy_(torch.tensor([2.0, -2.0]))
    early, late = 1 / (1 + np.exp(2.0)), 1 / (1 + np.exp(-2.0))
    for model, expected in ((swapping, [early, late]), (keeping, [late, early])):
        output = model(pairs)
        assert output.span[0].tolist() == pytest.approx([late, early])
        assert output.ranked.shape == (1, 1, 2)
        assert output.ranked[0, 0].tolist() == pytest.approx(expected)


def test_dropout_acts_in_training_only() -> None:
    model, pairs = small_model(dropout=0.5), batch([pair(4, 2, dtype=torch.float32)])
    assert torch.equal(model(pairs).span, model(pairs).span)
    model.train()
    assert not torch.equal(model(pairs).span, model(pairs).span)


@pytest.mark.parametrize("cam", [{}, {"diagonal": "once"}, {"scale": True, "separate_values": True}], ids=str)
@pytest.mark.parametrize("resample", [("max", "nearest"), ("avg", "linear"), ("conv", "linear")])
def test_bf16_autocast_learns(cam: dict[str, Any], resample: tuple[str, str]) -> None:
    model = small_model(cam=cam, downsample=resample[0], upsample=resample[1], pyramid_levels=5)
    pairs = batch([pair(9, 3, dtype=torch.float32), pair(1, 1, dtype=torch.float32)], more_clips=1)
    exact = model(pairs)
    model.train()
    with torch.autocast("cpu", torch.bfloat16):
        losses = GroundingLoss()(model(pairs), pairs)
        rough = model.eval()(pairs)
    names, parameters = zip(*model.named_parameters(), strict=True)
    gradients = torch.autograd.grad(losses["loss"], parameters)
    assert all(loss.isfinite() and loss.dtype == torch.float32 for loss in losses.values())
    for name, gradient in zip(names, gradients, strict=True):
        assert gradient.isfinite().all(), name
    assert rough.span.dtype == rough.log_attention.dtype == torch.float32
    torch.testing.assert_close(rough.span, exact.span, atol=0.05, rtol=0)
