"""Every model that can be trained, built from its yaml at a small size. Oracle: the same pairs alone and unpadded."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import Tensor, nn

from commands import compose
from cpnet.batch import GroundingBatch, GroundingOutput
from cpnet.config import CONFIG_DIR
from cpnet.config.instantiate import instantiate
from cpnet.training.losses import GroundingLoss
from models.pairs import VIDEO_DIM, WORD_DIM, WORDS, Pair, batch, pair, randomised

# Presets that build on a schema; the others vary one of these.
FILES = sorted((CONFIG_DIR / "model").glob("*.yaml"))
NAMES = [file.stem for file in FILES if "base_" in file.read_text(encoding="utf-8")]
CLIPS = 64  # of the longest video
SMALL = [f"sampling.clips={CLIPS}", f"dataset.features.dim={VIDEO_DIM}", f"dataset.word_vectors.dim={WORD_DIM}"]
# A softmax over clips cancels these: their gradient is 0 or, on other processors, a rounding error
CANCELLED = {"vslnet": {"predictor.start.2.bias", "predictor.end.2.bias"}}
SEEDS = {"lgi": 1}  # of the weights; with this one, LGI's rectified start and end are above 0
# Different lengths, odd ones and 1; word 1 is unknown: its vector is learned.
PAIRS = [replace(pair(8, 5), query=[1, 4, 1, 7, 2]), pair(1, 3), pair(7, 1), pair(11, 4), pair(1, 1)]

every_model = pytest.mark.parametrize("name", NAMES)


@cache
def model_of(name: str) -> nn.Module:
    """Build a preset with random weights in float64, in evaluation mode."""
    cfg = compose(f"model={name}", "model.hidden_dim=16", *SMALL)
    torch.manual_seed(0)
    model: nn.Module = instantiate(cfg.model, word_vectors=torch.randn(WORDS, WORD_DIM))
    return randomised(model, seed=SEEDS.get(name, 0))


def answer(model: nn.Module, pairs: GroundingBatch) -> GroundingOutput:
    output: GroundingOutput = model(pairs if getattr(model, "shares_videos", False) else pairs.per_pair())
    return output


def losses(model: nn.Module, pairs: GroundingBatch) -> dict[str, Tensor]:
    terms: dict[str, Tensor] = getattr(model, "loss", GroundingLoss())(answer(model, pairs), pairs)
    return terms


def moments(output: GroundingOutput) -> tuple[Tensor, ...]:
    return (output.span, output.ranked, *([] if output.scores is None else [output.scores]))


def with_windows(pairs: GroundingBatch, windows: Sequence[tuple[float, float]]) -> GroundingBatch:
    fractions = torch.tensor(windows, dtype=torch.float64).expand(len(pairs), -1, -1)
    return replace(pairs, windows=fractions, windows_sec=10 * fractions)


@every_model
def test_garbage_in_padding_changes_neither_moments_nor_loss(name: str) -> None:
    model = model_of(name)
    plain, more = batch(PAIRS, garbage=0.0), batch(PAIRS, more_clips=3, more_words=2)
    torch.testing.assert_close(moments(answer(model, more)), moments(answer(model, plain)))
    torch.testing.assert_close(losses(model, more), losses(model, plain))


@every_model
def test_a_batch_has_the_moments_of_its_pairs_alone(name: str) -> None:
    model = model_of(name)
    alone = [moments(answer(model, batch([each]))) for each in PAIRS]
    torch.testing.assert_close(moments(answer(model, batch(PAIRS))), tuple(map(torch.cat, zip(*alone, strict=True))))


@every_model
def test_pairs_that_share_videos_are_as_pairs_with_their_own(name: str) -> None:
    model, index = model_of(name), [1, 0, 1, 2]
    own = batch([Pair(PAIRS[video].video, each.query) for video, each in zip(index, PAIRS, strict=False)])
    videos = batch(PAIRS[:3])
    shared = replace(own, video=videos.video, video_mask=videos.video_mask, video_index=torch.tensor(index))
    torch.testing.assert_close(moments(answer(model, shared)), moments(answer(model, own)))
    torch.testing.assert_close(losses(model, shared), losses(model, own))


@every_model
def test_repeated_windows_change_no_loss_and_none_are_needed_to_predict(name: str) -> None:
    model, pairs = model_of(name), batch(PAIRS)
    window, other = (0.2, 0.7), (0.0, 0.3)
    once = losses(model, with_windows(pairs, [window]))
    torch.testing.assert_close(losses(model, with_windows(pairs, [window, window])), once)
    assert torch.isfinite(losses(model, with_windows(pairs, [other, window]))["loss"])
    beyond = losses(model, with_windows(pairs, [(0.9, 1.3)]))  # annotations may end after the video
    assert torch.isfinite(beyond["loss"])
    none = replace(pairs, windows=pairs.windows[:, :0], windows_sec=pairs.windows_sec[:, :0])
    torch.testing.assert_close(moments(answer(model, none)), moments(answer(model, pairs)))


@every_model
def test_gradients_reach_every_parameter(name: str) -> None:
    model = model_of(name)
    names, parameters = zip(*((n, p) for n, p in model.named_parameters() if p.requires_grad), strict=True)
    # A long video and windows of several lengths, for models that have levels of different scales
    pairs = batch([replace(pair(CLIPS, each), query=[*range(1, each + 1)]) for each in (2, 4, 5, 6, 7)])
    lengths = torch.tensor([0.02, 0.05, 0.1, 0.3, 0.9], dtype=torch.float64)
    windows = torch.stack((torch.full_like(lengths, 0.05), 0.05 + lengths), dim=1)[:, None]
    loss = losses(model, replace(pairs, windows=windows, windows_sec=10 * windows))["loss"]
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    without = {n for n, gradient in zip(names, gradients, strict=True) if gradient is None or not gradient.any()}
    assert without <= CANCELLED.get(name, set())


@every_model
@pytest.mark.parametrize("hidden", ["video", "query"])
def test_moments_are_finite_where_a_probe_zeroes_an_input(name: str, hidden: str) -> None:
    pairs = batch(PAIRS)
    output = answer(model_of(name), replace(pairs, **{hidden: torch.zeros_like(getattr(pairs, hidden))}))
    assert all(each.isfinite().all() for each in (output.span, output.ranked))


@every_model
def test_ranked_moments_are_within_the_video_and_sorted_by_score(name: str) -> None:
    output = answer(model_of(name), batch(PAIRS))
    assert output.ranked.shape[::2] == (len(PAIRS), 2)
    start, end = output.ranked.unbind(dim=2)
    assert ((start >= 0) & (start <= end) & (end <= 1)).all()
    if output.scores is not None:
        assert output.scores.shape == output.ranked.shape[:2]
        assert output.scores[:, 0].isfinite().all()
        assert (output.scores[:, 1:] <= output.scores[:, :-1]).all()
        absent = output.scores == -torch.inf
        assert torch.equal(output.ranked[absent], output.ranked[:, :1].expand_as(output.ranked)[absent])


@every_model
def test_bfloat16_is_finite(name: str) -> None:
    model = copy.deepcopy(model_of(name)).float()
    pairs = batch([replace(each, video=each.video.float()) for each in PAIRS])
    with torch.autocast("cpu", torch.bfloat16):
        output = answer(model, pairs)
        terms = losses(model, pairs)
    assert all(each.isfinite().all() for each in (output.span, output.ranked, *terms.values()))
    parameters = [each for each in model.parameters() if each.requires_grad]
    gradients = torch.autograd.grad(terms["loss"], parameters, allow_unused=True)
    assert all(each.isfinite().all() for each in gradients if each is not None)
