"""The prediction for a pair does not depend on padding, on other pairs of its batch, or on their order."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor

from cpnet.batch import GroundingOutput
from cpnet.models import CPNet
from models.pairs import Pair, batch, pair, small_model

LENGTHS = ((1, 1), (5, 3), (8, 1), (3, 6))
PAIRS = [pair(clips, words, dtype=torch.float32) for clips, words in LENGTHS]
TOLERANCE = 1e-5


def assert_close(answer: Tensor, expected: Tensor) -> None:
    assert answer.shape == expected.shape
    assert (answer - expected).abs().max().item() <= TOLERANCE  # a NaN fails as well


def assert_same(output: GroundingOutput, b: int, alone: GroundingOutput, clips: int) -> None:
    assert_close(output.span[b], alone.span[0])
    assert_close(output.ranked[b], alone.ranked[0])
    assert output.log_attention is not None
    assert alone.log_attention is not None
    assert_close(output.log_attention[b, :clips].exp(), alone.log_attention[0].exp())
    assert not output.log_attention[b, clips:].exp().any()


@torch.no_grad()
def check(model: CPNet, pairs: Sequence[Pair], *, more_clips: int, more_words: int, asked: int | None = None) -> None:
    """Compare each pair, or the one ``asked`` for, alone, in a padded batch, and in a batch of reversed order."""
    together = model(batch(pairs, more_clips=more_clips, more_words=more_words))
    backwards = model(batch(pairs[::-1]))
    for b, one in enumerate(pairs):
        clips = len(one.video)
        assert_close(backwards.span[len(pairs) - 1 - b], together.span[b])
        if asked in (None, b):
            alone = model(batch([one]))
            assert_same(together, b, alone, clips)
            assert_same(backwards, len(pairs) - 1 - b, alone, clips)


@pytest.mark.parametrize("position", ["sinusoid", "learned"])
@pytest.mark.parametrize("diagonal", ["both", "once"])
@pytest.mark.parametrize(("downsample", "upsample"), list(product(["max", "avg", "conv"], ["nearest", "linear"])))
def test_padding_changes_no_prediction(downsample: str, upsample: str, diagonal: str, position: str) -> None:
    knobs: dict[str, Any] = {"downsample": downsample, "upsample": upsample, "position": position}
    for levels in range(1, 9):
        model = small_model(seed=levels, pyramid_levels=levels, cam={"diagonal": diagonal}, **knobs)
        check(model, PAIRS, more_clips=1 + levels % 3, more_words=levels % 4, asked=levels % len(PAIRS))


@pytest.mark.parametrize(
    "knobs",
    [
        {"fusion": "two_layer"},
        {"share_fusion_encoder": True},
        {"contextual_pyramid": False},
        {"context_aware": False},
        {"context_aware": False, "downsample": "avg", "upsample": "linear"},
        {"cam": {"scale": True}},
        {"cam": {"separate_values": True}},
        {"cam": {"separate_values": True, "diagonal": "once"}},
        {"encoder": {"kernel_size": 15, "conv_layers": 4, "num_heads": 4}},
        {"order": "none"},
    ],
    ids=str,
)
def test_padding_changes_no_prediction_with_other_options(knobs: dict[str, Any]) -> None:
    check(small_model(**knobs), PAIRS, more_clips=2, more_words=2)


def test_padding_beyond_the_table_of_positions() -> None:
    check(small_model(upsample="linear", pyramid_levels=8), PAIRS, more_clips=300, more_words=40)


@pytest.mark.parametrize("levels", [1, 3, 8])
@pytest.mark.parametrize("resample", [("max", "nearest"), ("avg", "linear"), ("conv", "nearest")])
def test_one_word_and_one_clip(levels: int, resample: tuple[str, str]) -> None:
    model = small_model(pyramid_levels=levels, downsample=resample[0], upsample=resample[1])
    for more in (0, 1, 7):
        output = model(batch(PAIRS[:1], more_clips=more, more_words=more), return_maps=True)
        assert output.span.isfinite().all()
        assert output.log_attention[0, 0].item() == 0
        assert output.maps is not None
        assert len(output.maps.levels) == levels
        for m in (output.maps.query, *output.maps.levels):
            assert m[0, 0, 0].item() == 1
            assert not m[0, 0, 1:].any()
        assert output.maps.video[0, 0, 0].item() == 1
        assert not output.maps.video[0, 1:].any()


@torch.no_grad()
def test_padding_changes_no_map() -> None:
    model = small_model(pyramid_levels=4)
    together = model(batch(PAIRS, more_clips=3, more_words=2), return_maps=True).maps
    assert together is not None
    for b, one in enumerate(PAIRS):
        maps = model(batch([one]), return_maps=True).maps
        assert maps is not None
        clips, words = len(one.video), len(one.query)
        assert_close(together.query[b, :clips, :words], maps.query[0])
        assert_close(together.video[b, :clips, :words], maps.video[0])
        for level, m in enumerate(maps.levels):
            real = m.shape[1]
            assert_close(together.levels[level][b, :real, :real], m[0])


@torch.no_grad()
@pytest.mark.parametrize("downsample", ["max", "avg", "conv"])
def test_predictions_depend_on_real_clips_and_words(downsample: str) -> None:
    """A constant would pass all of the above. Compared before the sigmoid, which hides changes at its ends."""
    one = pair(5, 3)
    changed = [Pair(one.video.flip(0), one.query), Pair(one.video, one.query[::-1])]
    for levels in range(1, 9):
        model = small_model(seed=levels, dtype=torch.float64, pyramid_levels=levels, downsample=downsample)
        spans = model(batch([one, *changed])).span.logit()
        assert (spans[0] - spans[1:]).abs().amax(dim=1).min() > 20 * TOLERANCE
