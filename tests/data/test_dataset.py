"""Oracle: pairs of the tiny corpus, worked out by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from corpora import CLIPS, DIM, ROWS, TEST, WORD_DIM, WORDS, rows, write_corpus
from cpnet.data.dataset import GroundingDataset
from cpnet.data.features import open_features
from cpnet.data.features.placement import DeliveredFeatures
from cpnet.data.sampling import Pick
from cpnet.data.vocabulary import SPECIAL, Vocabulary

NUMBER = {word: 2 + place for place, word in enumerate(WORDS)}


@pytest.fixture
def arguments(tmp_path: Path) -> dict[str, Any]:
    files = write_corpus(tmp_path)
    return {
        "features": DeliveredFeatures(open_features(**files["features"]), [*ROWS]),
        "videos": {video: number for number, video in enumerate(ROWS)},
        "sampling": Pick(clips=CLIPS),
        "vocabulary": Vocabulary((*SPECIAL, *WORDS), torch.zeros(2 + len(WORDS), WORD_DIM)),
        "max_words": 4,
        "blind": "none",
    }


def test_batch_without_pairs_is_empty(arguments: dict[str, Any]) -> None:
    empty = GroundingDataset(TEST, **arguments)[()]
    assert (len(empty), empty.video.shape) == (0, (0, CLIPS, DIM))


@pytest.mark.parametrize(("blind", "other"), [("video", "query"), ("query", "video")])
def test_blind_model_gets_zeros_and_the_mask(blind: str, other: str, arguments: dict[str, Any]) -> None:
    plain, hidden = GroundingDataset(TEST, **arguments), GroundingDataset(TEST, **arguments | {"blind": blind})
    for index in range(len(TEST)):
        before, after = vars(plain[[index]]), vars(hidden[[index]])
        assert before[blind].any()
        assert not after[blind].any()
        for name in (f"{blind}_mask", other, f"{other}_mask"):
            assert torch.equal(before[name], after[name])


def test_training_samples_clips_at_the_phase_of_each_pair(arguments: dict[str, Any]) -> None:
    dataset = GroundingDataset(TEST, **arguments)
    # Two rows in a clip: the first half of the phases picks the first of them.
    for phase, first in ((0.0, 0), (0.49, 0), (0.5, 1), (0.99, 1)):
        assert dataset[[(3, phase)]].video[0, :, 1].tolist() == [first, first + 2, first + 4, first + 6]
    for phase in (0.0, 0.7):  # fewer rows than clips
        assert torch.equal(dataset[[(0, phase)]].video[0, :2], torch.from_numpy(rows("e00")))
    assert dataset[[(3, 0.9), (3, 0.1), (2, 0.6)]].video[:, 0, 1].tolist() == [1, 0, 1]


def test_orders_of_evaluation(arguments: dict[str, Any]) -> None:
    dataset = GroundingDataset([TEST[4], TEST[0], TEST[6], TEST[1], TEST[3]], **arguments)
    assert dataset.order("split").tolist() == [0, 1, 2, 3, 4]
    assert dataset.order("length").tolist() == [0, 2, 1, 3, 4]  # 1, 2, 3, 3, 4 words
    assert dataset.order("video").tolist() == [1, 3, 4, 0, 2]  # e00, e00, e01, e02, e02
