"""Predictions and maps of a padded pair. Oracle: the model's own output, cut and timed by hand."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from cpnet.batch import GroundingBatch
from cpnet.data.moment import Moment
from cpnet.data.vocabulary import Vocabulary
from cpnet.errors import DataError
from cpnet.evaluation.functional import iou
from cpnet.grounder import Grounder
from cpnet.inspection.observe import Observer
from cpnet.models import CPNetPlus
from cpnet.options import CPNetPlusOptions, EncoderOptions
from models.pairs import VIDEO_DIM, WORD_DIM, WORDS, batch, pair

KNOWN = Vocabulary(("", "<unk>", "she", "opens"), torch.zeros(4, 8))
BATCH = batch([pair(5, 3, dtype=torch.float32)], more_clips=4, more_words=2)  # 10 s; the true span is 2 to 7 s


class OnePair:
    """A split of one pair, whose batch is padded."""

    moments = (Moment(qid="a", video="v", query="She opens zyzzyva", windows_sec=((2.0, 7.0),), duration_sec=10.0),)

    def __getitem__(self, rows: list[int]) -> GroundingBatch:
        assert rows == [0]
        return BATCH


def observer(model: torch.nn.Module) -> Observer:
    grounder: Any = SimpleNamespace(model=model, device="cpu", vocabulary=KNOWN, max_words=50)
    grounder.run = partial(Grounder.run, grounder)
    dataset: Any = OnePair()
    return Observer("plus", grounder, dataset)


def plus() -> CPNetPlus:
    torch.manual_seed(0)
    encoder = EncoderOptions(kernel_size=3, conv_layers=1, num_heads=2)
    options = CPNetPlusOptions(hidden_dim=8, pyramid_levels=3, patch=2, encoder=encoder)
    return CPNetPlus(VIDEO_DIM, torch.randn(WORDS, WORD_DIM), options).eval()


@torch.no_grad()
def test_maps_are_cut_to_real_clips_and_words_and_timed() -> None:
    model = plus()
    words, levels = observer(model).maps(0)
    expected = model(BATCH, return_maps=True).maps
    assert expected is not None
    assert words.words == ["she", "opens", "zyzzyva (?)"]
    assert words.edges_sec.tolist() == [0, 4, 8, 10]  # 5 clips of 2 seconds, 2 a step
    np.testing.assert_array_equal(words.query, expected.query[0, :3, :3])
    np.testing.assert_array_equal(words.video, expected.video[0, :3, :3])
    assert levels is not None
    for steps, edges, (ours, weights), theirs in zip(
        (3, 2, 1), ([0, 4, 8, 10], [0, 8, 10], [0, 10]), levels.levels, expected.levels, strict=True
    ):
        assert ours.tolist() == edges
        np.testing.assert_array_equal(weights, theirs[0, :steps, :steps])
        np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-5)


@torch.no_grad()
def test_prediction_is_in_seconds_with_its_iou_and_attention() -> None:
    model = plus()
    seen = observer(model)
    assert (seen.has_maps, seen.has_levels) == (True, True)
    output, found = model(BATCH), seen.observe([0])[0]
    assert found.predicted_sec == pytest.approx((10 * output.ranked[0, 0]).tolist())
    assert found.iou == pytest.approx(float(iou(found.predicted_sec, (2.0, 7.0))), abs=1e-6)
    assert output.log_attention is not None
    np.testing.assert_allclose(found.attention, output.log_attention[0, :5].exp(), rtol=1e-5)
    with torch.no_grad():
        next(model.head.parameters()).fill_(torch.nan)
    with pytest.raises(DataError, match="a prediction is not finite"):
        observer(model).observe([0])
