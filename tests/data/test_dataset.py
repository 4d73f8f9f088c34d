"""Oracle: samples of the tiny corpus, worked out by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from corpora import CLIPS, TEST, VAL, WORDS, moment, rows, write_corpus
from cpnet.data.dataset import GroundingDataset
from cpnet.data.features import open_features
from cpnet.data.moment import DataError
from cpnet.data.sampling import Pick
from cpnet.data.vocabulary import Vocabulary

NUMBER = {word: 2 + place for place, word in enumerate(WORDS)}


@pytest.fixture
def arguments(tmp_path: Path) -> dict[str, Any]:
    files = write_corpus(tmp_path)
    queries = [each.query for each in TEST]
    return {
        "features": open_features(**files["features"]),
        "sampling": Pick(clips=CLIPS),
        "vocabulary": Vocabulary.build([*queries, "window"], glove=files["glove"]),
        "max_words": 4,
        "training": False,
    }


def test_a_short_video_is_padded(arguments: dict[str, Any]) -> None:
    dataset = GroundingDataset(TEST, **arguments)
    sample = dataset[1]
    assert (len(dataset), sample.index, sample.moment, sample.real) == (7, 1, TEST[1], 2)
    assert sample.video.tolist() == [[11, 0, 1], [11, 1, 1], [0, 0, 0], [0, 0, 0]]
    assert sample.video.dtype == np.float32
    assert sample.query == [NUMBER[word] for word in ("close", "the", "window")]


def test_a_long_video_is_sampled_in_the_middle_of_each_clip(arguments: dict[str, Any]) -> None:
    sample = GroundingDataset(TEST, **arguments)[3]
    assert sample.real == CLIPS
    assert sample.video.tolist() == [[12, 1, 1], [12, 3, 1], [12, 5, 1], [12, 7, 1]]  # 8 rows, 2 a clip


def test_unknown_words_are_row_1_and_long_queries_are_cut(arguments: dict[str, Any]) -> None:
    dataset = GroundingDataset(TEST, **arguments)
    assert dataset[2].query == [NUMBER["open"], NUMBER["the"], 1]
    assert dataset[3].query == [NUMBER["the"], 1, NUMBER["door"], 1]  # behind them: opens, and the closing quote


def test_a_query_without_a_word_is_an_error_at_once(arguments: dict[str, Any]) -> None:
    with pytest.raises(DataError, match="query '   ' holds no word"):
        GroundingDataset([*VAL, moment("x", "v00", (0.0, 1.0), query="   ")], **arguments)


def test_blind_to_the_video(arguments: dict[str, Any]) -> None:
    seeing, blind = GroundingDataset(TEST, **arguments), GroundingDataset(TEST, blind="video", **arguments)
    for index in range(len(TEST)):
        assert not blind[index].video.any()
        assert blind[index].video.shape == seeing[index].video.shape
        assert (blind[index].real, blind[index].query) == (seeing[index].real, seeing[index].query)


def test_blind_to_the_query(arguments: dict[str, Any]) -> None:
    seeing, blind = GroundingDataset(TEST, **arguments), GroundingDataset(TEST, blind="query", **arguments)
    for index in range(len(TEST)):
        assert blind[index].query == [0] * len(seeing[index].query)
        assert np.array_equal(blind[index].video, seeing[index].video)
        assert blind[index].real == seeing[index].real


def test_training_draws_the_phase_from_torchs_seed(arguments: dict[str, Any]) -> None:
    dataset = GroundingDataset(TEST, **arguments | {"training": True})

    def draw(seed: int) -> list[tuple[int, ...]]:
        torch.manual_seed(seed)
        return [tuple(int(row) for row in dataset[3].video[:, 1]) for _ in range(40)]

    drawn = draw(0)
    assert drawn == draw(0)
    assert drawn != draw(1)
    # Two rows a clip and one phase for all clips.
    assert set(drawn) == {(0, 2, 4, 6), (1, 3, 5, 7)}
    assert all(np.array_equal(dataset[0].video[:2], rows("e00")) for _ in range(5))  # nothing to choose from


def test_evaluation_draws_nothing(arguments: dict[str, Any]) -> None:
    dataset = GroundingDataset(TEST, **arguments)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first, second = dataset[3], dataset[3]
    assert torch.equal(torch.get_rng_state(), before)
    assert np.array_equal(first.video, second.video)
