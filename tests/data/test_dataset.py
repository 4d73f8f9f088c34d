"""Oracle: pairs of the tiny corpus, worked out by hand."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from corpora import CLIPS, ROWS, TEST, VAL, WORDS, moment, rows, write_corpus
from cpnet.batch import GroundingBatch
from cpnet.data.collate import Draw
from cpnet.data.dataset import GroundingDataset
from cpnet.data.features import open_features
from cpnet.data.moment import DataError
from cpnet.data.rows import SourceRows
from cpnet.data.sampling import Pick
from cpnet.data.vocabulary import Vocabulary

NUMBER = {word: 2 + place for place, word in enumerate(WORDS)}


@pytest.fixture
def arguments(tmp_path: Path) -> dict[str, Any]:
    files = write_corpus(tmp_path)
    queries = [each.query for each in TEST]
    return {
        "split": "test",
        "rows": SourceRows(open_features(**files["features"]), [*ROWS]),
        "videos": {video: number for number, video in enumerate(ROWS)},
        "sampling": Pick(clips=CLIPS),
        "vocabulary": Vocabulary.build([*queries, "window"], glove=files["glove"]),
        "max_words": 4,
    }


def take(dataset: GroundingDataset, *index: int) -> GroundingBatch:
    batch = dataset.__getitems__(index)
    assert isinstance(batch, GroundingBatch)
    return batch


def test_a_short_video_is_padded(arguments: dict[str, Any]) -> None:
    dataset = GroundingDataset(TEST, **arguments)
    batch = take(dataset, 1)
    assert (len(dataset), len(batch), batch.index.tolist()) == (7, 1, [1])
    assert batch.video.tolist() == [[[11, 0, 1], [11, 1, 1], [0, 0, 0], [0, 0, 0]]]
    assert batch.video_mask.tolist() == [[True, True, False, False]]
    assert batch.query.tolist() == [[NUMBER[word] for word in ("close", "the", "window")]]


def test_a_long_video_is_sampled_in_the_middle_of_each_clip(arguments: dict[str, Any]) -> None:
    batch = take(GroundingDataset(TEST, **arguments), 3)
    assert batch.video_mask.all()
    assert batch.video.tolist() == [[[12, 1, 1], [12, 3, 1], [12, 5, 1], [12, 7, 1]]]  # 8 rows, 2 a clip


def test_one_pair_is_a_batch_of_one(arguments: dict[str, Any]) -> None:
    batch = GroundingDataset(TEST, **arguments)[3]
    assert isinstance(batch, GroundingBatch)
    assert batch.index.tolist() == [3]


def test_unknown_words_are_row_1_and_long_queries_are_cut(arguments: dict[str, Any]) -> None:
    batch = take(GroundingDataset(TEST, **arguments), 2, 3)
    assert batch.query[0].tolist() == [NUMBER["open"], NUMBER["the"], 1, 0]
    assert batch.query[1].tolist() == [NUMBER["the"], 1, NUMBER["door"], 1]  # behind: opens, and the closing quote
    assert batch.query_mask.tolist() == [[True, True, True, False], [True] * 4]


def test_a_query_without_a_word_is_an_error_at_once(arguments: dict[str, Any]) -> None:
    with pytest.raises(DataError, match="query '   ' holds no word"):
        GroundingDataset([*VAL, moment("x", "v00", (0.0, 1.0), query="   ")], **arguments)


def test_blind_to_the_video(arguments: dict[str, Any]) -> None:
    seeing, blind = GroundingDataset(TEST, **arguments), GroundingDataset(TEST, blind="video", **arguments)
    for index in range(len(TEST)):
        assert not take(blind, index).video.any()
        assert take(seeing, index).video.any()
        assert torch.equal(take(blind, index).video_mask, take(seeing, index).video_mask)
        assert torch.equal(take(blind, index).query, take(seeing, index).query)


def test_blind_to_the_query(arguments: dict[str, Any]) -> None:
    seeing, blind = GroundingDataset(TEST, **arguments), GroundingDataset(TEST, blind="query", **arguments)
    for index in range(len(TEST)):
        assert not take(blind, index).query.any()
        assert torch.equal(take(blind, index).query_mask, take(seeing, index).query_mask)
        assert torch.equal(take(blind, index).video, take(seeing, index).video)


def picked(dataset: GroundingDataset, *picks: tuple[int, float]) -> GroundingBatch:
    batch = dataset.__getitems__(picks)
    assert isinstance(batch, GroundingBatch)
    return batch


def test_training_takes_clips_at_the_phase_of_the_pick(arguments: dict[str, Any]) -> None:
    dataset = GroundingDataset(TEST, **arguments)
    # Two rows a clip: the first half of the phases takes the first of them.
    for phase, first in ((0.0, 0), (0.49, 0), (0.5, 1), (0.99, 1)):
        assert picked(dataset, (3, phase)).video[0, :, 1].tolist() == [first, first + 2, first + 4, first + 6]
    # Nothing to choose from
    for phase in (0.0, 0.7):
        assert torch.equal(picked(dataset, (0, phase)).video[0, :2], torch.from_numpy(rows("e00")))


def test_pairs_of_a_batch_have_phases_of_their_own(arguments: dict[str, Any]) -> None:
    batch = picked(GroundingDataset(TEST, **arguments), (3, 0.9), (3, 0.1), (2, 0.6))
    assert batch.video[:, 0, 1].tolist() == [1, 0, 1]


def test_nothing_is_drawn_from_torchs_random_numbers(arguments: dict[str, Any]) -> None:
    dataset = GroundingDataset(TEST, **arguments)
    before = torch.get_rng_state()
    first, second = take(dataset, 3), take(dataset, 3)
    picked(dataset, (3, 0.3))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first.video, second.video)


def test_a_draw_makes_the_same_batch(arguments: dict[str, Any]) -> None:
    here = GroundingDataset(TEST, **arguments)
    draw = GroundingDataset(TEST, on_device=True, **arguments).__getitems__([5, 1])
    assert isinstance(draw, Draw)
    made, expected = here.batch(draw), take(here, 5, 1)
    for name, value in vars(expected).items():
        assert value is None or torch.equal(value, vars(made)[name]), name


def test_orders(arguments: dict[str, Any]) -> None:
    dataset = GroundingDataset([TEST[4], TEST[0], TEST[6], TEST[1], TEST[3]], **arguments)
    assert dataset.order("split").tolist() == [0, 1, 2, 3, 4]
    assert dataset.order("length").tolist() == [0, 2, 1, 3, 4]  # 1, 2, 3, 3, 4 words
    assert dataset.order("video").tolist() == [1, 3, 4, 0, 2]  # e00, e00, e01, e02, e02


def test_a_dataset_goes_to_workers_without_its_memory(arguments: dict[str, Any]) -> None:
    dataset = GroundingDataset(TEST, **arguments)
    kept = take(dataset, 0, 1)
    copied = pickle.loads(pickle.dumps(dataset))
    assert torch.equal(take(copied, 0, 1).video, kept.video)
