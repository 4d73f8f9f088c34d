"""Oracle: the tiny corpus, and the sets and orders that follow from the docstrings."""

from __future__ import annotations

import itertools
import logging
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, DistributedSampler

from corpora import (
    CLIPS,
    TEST,
    TRAIN,
    UNKNOWN_WORD,
    VAL,
    WORDS,
    make,
    moment,
    process,
    ready,
    write_corpus,
    write_features,
    write_glove,
    write_jsonl,
)
from cpnet.batch import GroundingBatch
from cpnet.data.collate import Draw
from cpnet.data.datamodule import GroundingDataModule
from cpnet.data.features import open_features
from cpnet.data.features.pack import pack
from cpnet.data.moment import DataError
from cpnet.data.readers import read_jsonl
from cpnet.data.sampling import Pick
from cpnet.data.vocabulary import Vocabulary


@pytest.fixture
def arguments(tmp_path: Path) -> dict[str, Any]:
    return write_corpus(tmp_path)


def indices(loader: DataLoader[Any]) -> list[int]:
    return [index for batch in loader for index in batch.index.tolist()]


def videos(datamodule: GroundingDataModule, split: str) -> set[str]:
    return {each.video for each in datamodule.dataset(split).moments}


def equal(first: GroundingBatch, second: GroundingBatch) -> bool:
    here, there = ({k: v for k, v in vars(batch).items() if v is not None} for batch in (first, second))
    return here.keys() == there.keys() and all(torch.equal(value, there[name]) for name, value in here.items())


def batches(datamodule: GroundingDataModule, split: str) -> list[GroundingBatch]:
    """What the model gets of a split on a CPU."""
    loader = datamodule.evaluation_dataloader(split)
    return [datamodule.transfer_batch_to_device(batch, torch.device("cpu"), 0) for batch in loader]


def test_validation_from_a_file(arguments: dict[str, Any]) -> None:
    datamodule = ready(arguments)
    assert list(datamodule.dataset("train").moments) == TRAIN
    assert list(datamodule.dataset("val").moments) == VAL
    assert [each.qid for each in datamodule.dataset("test").moments] == [each.qid for each in TEST]


def test_validation_held_out_by_video(arguments: dict[str, Any]) -> None:
    datamodule = ready(arguments | {"validation": "holdout", "holdout_fraction": 0.3})
    held_out = videos(datamodule, "val")
    assert len(held_out) == 3
    assert not held_out & videos(datamodule, "train")
    assert list(datamodule.dataset("val").moments) == [each for each in TRAIN if each.video in held_out]
    assert list(datamodule.dataset("train").moments) == [each for each in TRAIN if each.video not in held_out]


def test_the_held_out_videos_hang_on_their_own_seed(arguments: dict[str, Any]) -> None:
    def held_out(**changes: int) -> set[str]:
        return videos(ready(arguments | {"validation": "holdout", "holdout_fraction": 0.3} | changes), "val")

    assert held_out(seed=0) == held_out(seed=1) == held_out(seed=1, holdout_seed=0)
    assert held_out(holdout_seed=1) != held_out(holdout_seed=0)


def test_selection_on_test_is_said(arguments: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    datamodule = ready(arguments | {"validation": "test"})
    assert datamodule.dataset("val").moments == datamodule.dataset("test").moments
    (warning,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert "the checkpoint is selected on test" in warning


@pytest.mark.parametrize("validation", ["holdout", "test"])
def test_without_a_validation_file_none_is_read(validation: str, arguments: dict[str, Any]) -> None:
    Path(arguments["splits"]["val"]["annotations"]).unlink()
    ready(arguments | {"validation": validation})


@pytest.mark.parametrize("split", ["val", "test"])
def test_a_defect_of_an_evaluation_split(split: str, arguments: dict[str, Any]) -> None:
    reversed_pair = moment("broken", "v00", (5.0, 2.0))
    path = Path(arguments["splits"][split]["annotations"])
    kept = {"val": VAL, "test": TEST}[split]
    write_jsonl(path, [*kept, reversed_pair])
    with pytest.raises(DataError, match=rf"{split}: 1 pairs .* broken \(reversed: 5.00 to 2.00 of 10.00 s\)"):
        ready(arguments)
    dropped = ready(arguments | {"on_defect": "drop"})
    assert [each.qid for each in dropped.dataset(split).moments] == [each.qid for each in kept]


def test_a_defect_of_training_is_dropped_and_told(arguments: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    write_jsonl(Path(arguments["splits"]["train"]["annotations"]), [moment("broken", "t00", (5.0, 2.0)), *TRAIN])
    with caplog.at_level(logging.INFO):
        datamodule = ready(arguments)
    assert list(datamodule.dataset("train").moments) == TRAIN
    assert "dropped 1 (1 reversed, 0 empty); kept 20" in caplog.text


def test_an_unknown_policy_on_defects_is_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"dataset\.on_defect must be error or drop, found 'ignore'"):
        ready(arguments | {"on_defect": "ignore"})


@pytest.mark.parametrize(("ground_truth", "end_sec"), [("clipped", 10.0), ("raw", 12.5)])
def test_ground_truth_of_evaluation(ground_truth: str, end_sec: float, arguments: dict[str, Any]) -> None:
    beyond = moment("long", "t00", (8.0, 11.0))
    write_jsonl(Path(arguments["splits"]["train"]["annotations"]), [beyond, *TRAIN])
    datamodule = ready(arguments | {"ground_truth": ground_truth})
    batch = next(iter(datamodule.test_dataloader()))
    assert batch.span_sec[1].tolist() == [5.0, end_sec]  # of 10 s
    assert batch.span[1].tolist() == [0.5, 1.0]
    assert datamodule.dataset("train").moments[0].end_sec == 10.0


def test_videos_without_features_are_listed(arguments: dict[str, Any]) -> None:
    write_features(arguments["features"]["path"], ["e00", "v00", *(f"t{number:02}" for number in range(8))])
    with pytest.raises(DataError, match=r"2 of 10 videos of split train have no features in .*: 't08', 't09'"):
        ready(arguments)
    write_features(arguments["features"]["path"], ["e00", "v00", *(f"t{number:02}" for number in range(10))])
    with pytest.raises(DataError, match=r"2 of 3 videos of split test have no features in .*: 'e01', 'e02'"):
        ready(arguments)


def test_the_vocabulary_has_the_words_of_all_splits(arguments: dict[str, Any]) -> None:
    assert ready(arguments).vocabulary.words == ("", "<unk>", *WORDS)
    for split, query in (("train", "open"), ("val", "close"), ("test", "window")):
        write_jsonl(
            Path(arguments["splits"][split]["annotations"]),
            [moment(f"{split}-{number}", "v00", (1.0, 2.0), query=query) for number in range(2)],
        )
    datamodule = ready(arguments)
    assert datamodule.vocabulary.words == ("", "<unk>", "close", "open", "window")
    assert datamodule.vocabulary.vectors[2:].tolist() == [[5, -ord("c")], [4, -ord("o")], [6, -ord("w")]]


def test_words_that_are_unknown_or_cut_are_told(arguments: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        ready(arguments)
    (line,) = [record.getMessage() for record in caplog.records if record.getMessage().startswith("words:")]
    assert "30 queries, 1 cut, longest 6 words; 5 of 88 tokens unknown" in line
    assert f"{UNKNOWN_WORD} (1)" in line


def known() -> Vocabulary:
    return Vocabulary(("", "<unk>", "window", "open"), torch.tensor([[0.0, 0], [0, 0], [7, 7], [8, 8]]))


def test_a_known_vocabulary_keeps_its_rows_and_learns_from_the_file(arguments: dict[str, Any]) -> None:
    vocabulary = ready(arguments | {"vocabulary": known()}).vocabulary
    assert vocabulary.words == ("", "<unk>", "window", "open", "a", "close", "door", "the")
    assert vocabulary.vectors[:4].tolist() == known().vectors.tolist()
    assert vocabulary.vectors[4].tolist() == [1, -ord("a")]


@pytest.mark.parametrize("glove", ["absent.txt", None])
def test_a_known_vocabulary_serves_without_the_file(glove: str | None, arguments: dict[str, Any]) -> None:
    path = arguments["glove"].with_name(glove) if glove else None
    datamodule = ready(arguments | {"vocabulary": known(), "glove": path})
    assert datamodule.vocabulary.words == known().words
    assert datamodule.dataset("train").pairs.query[:2].tolist() == [
        [3, 1, 1],
        [1, 1, 2],
    ]  # of 3 words


def test_a_file_of_another_width_is_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(DataError, match="vectors 2 wide, not 5"):
        ready(arguments | {"word_dim": 5})
    write_glove(arguments["glove"])
    ready(arguments | {"word_dim": 2})


def test_a_batch_of_evaluation(arguments: dict[str, Any]) -> None:
    first, second, third = ready(arguments).test_dataloader()
    assert [len(batch) for batch in (first, second, third)] == [3, 3, 1]
    assert first.index.tolist() == [0, 1, 2]
    assert first.query.tolist() == [[5, 2, 4], [3, 6, 7], [5, 6, 1]]  # rows 2 to 7 are a close door open the window
    assert second.query_mask.tolist() == [[True] * 4, [True, False, False, False], [True, False, False, False]]
    assert first.video_mask.sum(dim=1).tolist() == [2, 2, CLIPS]
    assert third.span_sec.tolist() == [[2.5, 5.0]]


@pytest.mark.parametrize(
    ("blind", "field", "mask"), [("video", "video", "video_mask"), ("query", "query", "query_mask")]
)
def test_what_is_hidden_leaves_its_mask(blind: str, field: str, mask: str, arguments: dict[str, Any]) -> None:
    seeing, hidden = ready(arguments), ready(arguments | {"blind": blind})
    for split in ("val", "test"):
        for before, after in zip(seeing.evaluation_dataloader(split), hidden.evaluation_dataloader(split), strict=True):
            assert torch.equal(vars(before)[mask], vars(after)[mask])
            assert vars(before)[field].any()
            assert not vars(after)[field].any()


def go_to(loader: DataLoader[Any], epoch: int) -> None:
    """Set the epoch, as Lightning does."""
    assert isinstance(loader.sampler, DistributedSampler)
    loader.sampler.set_epoch(epoch)


def training_order(datamodule: GroundingDataModule, epoch: int) -> list[int]:
    loader = datamodule.train_dataloader()
    go_to(loader, epoch)
    return indices(loader)


def test_the_order_of_training_follows_from_seed_and_epoch(arguments: dict[str, Any]) -> None:
    orders = {}
    for seed in (0, 7):
        for epoch in (0, 1):
            torch.manual_seed(99 + seed + epoch)
            orders[seed, epoch] = training_order(ready(arguments | {"seed": seed}), epoch)
            assert sorted(orders[seed, epoch]) == list(range(len(TRAIN)))
    assert len(set(map(tuple, orders.values()))) == 4
    torch.manual_seed(5)
    assert training_order(ready(arguments), 1) == orders[0, 1]


@pytest.mark.parametrize("world", [1, 2, 3, 4, 9])
@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_processes_share_out_an_evaluation_split(split: str, world: int, arguments: dict[str, Any]) -> None:
    datamodule = ready(arguments | {"batch_size": 2})
    shares = []
    for rank in range(world):
        datamodule.trainer = process(rank, world)
        loader = datamodule.evaluation_dataloader(split)
        shares.append([batch.index.tolist() for batch in loader])
        assert len(loader) == len(shares[-1])
        assert shares[-1] == [[]] or all(shares[-1])  # what has nothing to do takes part
    count = len(datamodule.dataset(split))
    in_turn = [batch for turn in itertools.zip_longest(*shares) for batch in turn if batch]
    assert in_turn == [list(range(start, min(start + 2, count))) for start in range(0, count, 2)]


def test_lightning_leaves_the_shares_alone(arguments: dict[str, Any]) -> None:
    # Around any other sampler of a run with several processes it puts one of its own.
    datamodule = ready(arguments)
    for loader in (datamodule.train_dataloader(), datamodule.val_dataloader(), datamodule.test_dataloader()):
        assert isinstance(loader.sampler, DistributedSampler)


@pytest.mark.parametrize("world", [2, 3])
def test_processes_share_out_training_evenly(world: int, arguments: dict[str, Any]) -> None:
    datamodule = ready(arguments)
    shares = []
    for rank in range(world):
        datamodule.trainer = process(rank, world)
        shares.append(training_order(datamodule, 0))
    assert len({len(share) for share in shares}) == 1
    seen = Counter(index for share in shares for index in share)
    assert set(seen) == set(range(len(TRAIN)))
    assert seen.total() - len(TRAIN) < world  # a few come twice, so that all processes take as many steps


def test_workers_change_nothing_in_evaluation(arguments: dict[str, Any]) -> None:
    alone, helped = ready(arguments), ready(arguments | {"num_workers": 2})
    for before, after in zip(alone.test_dataloader(), helped.test_dataloader(), strict=True):
        assert equal(before, after)


def test_a_second_setup_reads_nothing(arguments: dict[str, Any]) -> None:
    reads: list[str] = []

    def read(*, annotations: str) -> Any:
        reads.append(Path(annotations).stem)
        return read_jsonl(annotations=annotations)

    datamodule = ready(arguments | {"reader": read})
    test = datamodule.dataset("test")
    for stage in ("fit", "test", None):
        datamodule.setup(stage)
    assert reads == ["train", "val", "test"]
    assert datamodule.dataset("test") is test


def test_a_corpus_is_made_before_it_is_read(arguments: dict[str, Any], tmp_path: Path) -> None:
    class Maker:
        def prepare(self) -> None:
            write_corpus(tmp_path)

    for file in tmp_path.iterdir():
        file.unlink()
    assert len(ready(arguments | {"corpus": Maker()}).dataset("test")) == len(TEST)


def test_a_split_that_there_is_not(arguments: dict[str, Any]) -> None:
    with pytest.raises(DataError, match="split must be one of train, val, test; got 'dev'"):
        ready(arguments).dataset("dev")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("validation", "dev", r"dataset\.validation must be one of file, holdout, test; got 'dev'"),
        ("ground_truth", "cut", r"dataset\.ground_truth must be one of clipped, raw; got 'cut'"),
        ("blind", "both", r"dataset\.blind must be one of none, video, query; got 'both'"),
        ("batch_size", 0, "batch_size must be 1 or more; got 0"),
        ("num_workers", -1, "num_workers must be 0 or more; got -1"),
        ("max_words", 0, r"dataset\.max_words must be 1 or more; got 0"),
        ("residence", "cloud", r"dataset\.features\.residence must be one of auto, disk, memory, device; got 'cloud'"),
        ("evaluation_order", "age", r"evaluation_order must be one of split, length, video; got 'age'"),
        ("splits", {"train": {}, "test": {}}, r"dataset\.splits must hold test, train, val; got train, test"),
    ],
)
def test_impossible_values_are_named(key: str, value: object, message: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=message):
        make(arguments | {key: value})


@pytest.mark.parametrize("fraction", [0.0, 1.0, 0.01])
def test_an_impossible_share_is_refused(fraction: float, arguments: dict[str, Any]) -> None:
    with pytest.raises(DataError, match=r"fraction|leaves 10 for training and 0"):
        ready(arguments | {"validation": "holdout", "holdout_fraction": fraction})


def test_a_file_that_is_absent_is_named(arguments: dict[str, Any]) -> None:
    Path(arguments["splits"]["test"]["annotations"]).unlink()
    with pytest.raises(DataError, match=r"test\.jsonl"):
        ready(arguments)


RESIDENCES = ("disk", "memory", "device")


@pytest.mark.parametrize("residence", RESIDENCES)
@pytest.mark.parametrize("packed", [False, True])
def test_a_batch_does_not_hang_on_where_the_features_are(
    residence: str, packed: bool, arguments: dict[str, Any]
) -> None:
    expected = batches(ready(arguments | {"residence": "disk"}), "test")
    if packed:
        source = open_features(**arguments["features"])
        durations = dict.fromkeys(source.ids(), 10.0)
        pack(source, Path(f"{arguments['features']['path']}.packed"), durations=durations)
    found = batches(ready(arguments | {"residence": residence}), "test")
    for before, after in zip(expected, found, strict=True):
        assert equal(before, after)
        assert after.video.dtype == torch.float32


def test_a_packed_store_is_preferred(arguments: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    source = open_features(**arguments["features"])
    pack(source, Path(f"{arguments['features']['path']}.packed"), durations=dict.fromkeys(source.ids(), 10.0))
    with caplog.at_level(logging.INFO):
        datamodule = ready(arguments)
        Path(arguments["features"]["path"]).unlink()
        assert len(batches(datamodule, "test")) == 3
        ready(arguments | {"residence": "disk"})  # the pack is gone, its store is enough
    assert "features.hdf5.packed (packed, float16, 14 videos, 3 wide; from" in caplog.text
    assert "is gone; its packed store serves" in caplog.text


@pytest.mark.parametrize("residence", RESIDENCES)
def test_the_phases_of_training_follow_from_seed_and_epoch(residence: str, arguments: dict[str, Any]) -> None:
    arguments |= {"residence": residence, "sampling": Pick(clips=2)}

    def firsts(seed: int, epoch: int) -> list[float]:
        datamodule = ready(arguments | {"seed": seed})
        loader = datamodule.train_dataloader()
        go_to(loader, epoch)
        made = [datamodule.transfer_batch_to_device(batch, torch.device("cpu"), 0) for batch in loader]
        return [row for batch in made for row in batch.video[:, 0, 1].tolist()]

    torch.manual_seed(1)
    before = torch.get_rng_state()
    drawn = {(seed, epoch): firsts(seed, epoch) for seed in (0, 1) for epoch in (0, 1)}
    assert torch.equal(torch.get_rng_state(), before)
    assert len(set(map(tuple, drawn.values()))) == 4
    assert firsts(0, 1) == drawn[0, 1]
    assert set(drawn[0, 0]) == {0, 1}  # 3 rows for 2 clips: the first is 0 or 1, each of which may be asked for


def test_on_a_device_only_draws_come_from_the_loader(arguments: dict[str, Any]) -> None:
    datamodule = ready(arguments | {"residence": "device", "num_workers": 2})
    loader = datamodule.train_dataloader()
    assert loader.num_workers == 0
    draw = next(iter(loader))
    assert isinstance(draw, Draw)
    assert (draw.split, len(draw.index), draw.phase is None) == ("train", 3, False)


def test_batches_by_length_of_the_query(arguments: dict[str, Any]) -> None:
    found = batches(ready(arguments | {"evaluation_order": "length"}), "test")
    words = [row for batch in found for row in batch.query_mask.sum(dim=1).tolist()]
    assert words == sorted(words) == [1, 1, 2, 3, 3, 3, 4]
    assert [batch.query.shape[1] for batch in found] == [2, 3, 4]
    assert sorted(index for batch in found for index in batch.index.tolist()) == list(range(len(TEST)))


def test_batches_by_video_carry_each_video_once(arguments: dict[str, Any]) -> None:
    order = [4, 0, 6, 1, 5, 2, 3]  # so that pairs of one video lie apart
    write_jsonl(Path(arguments["splits"]["test"]["annotations"]), [TEST[place] for place in order])
    plain = {int(i): b for b in batches(ready(arguments), "test") for i in b.index}
    found = batches(ready(arguments | {"evaluation_order": "video", "batch_size": 4}), "test")
    assert [(len(batch), len(batch.video)) for batch in found] == [(4, 2), (3, 2)]
    for batch in found:
        pairwise = batch.per_pair()
        assert pairwise.video_index is None
        for row, index in enumerate(batch.index.tolist()):
            other = plain[index]
            place = other.index.tolist().index(index)
            assert torch.equal(pairwise.video[row], other.video[place])
            assert torch.equal(pairwise.video_mask[row], other.video_mask[place])
            assert torch.equal(pairwise.span_sec[row], other.span_sec[place])
    videos_of = [[TEST[order[i]].video for i in batch.index.tolist()] for batch in found]
    assert videos_of == [["e02", "e02", "e02", "e00"], ["e00", "e01", "e01"]]


@pytest.mark.parametrize("order", ["length", "video"])
@pytest.mark.parametrize("world", [2, 3])
def test_processes_share_out_any_order(order: str, world: int, arguments: dict[str, Any]) -> None:
    datamodule = ready(arguments | {"evaluation_order": order})
    seen = []
    for rank in range(world):
        datamodule.trainer = process(rank, world)
        seen += indices(datamodule.evaluation_dataloader("test"))
    assert sorted(seen) == list(range(len(TEST)))


def test_the_training_split_is_evaluated_without_a_random_phase(arguments: dict[str, Any]) -> None:
    datamodule = ready(arguments | {"sampling": Pick(clips=2)})
    first = batches(datamodule, "train")
    go_to(datamodule.train_dataloader(), 1)
    torch.manual_seed(99)
    assert all(equal(one, other) for one, other in zip(first, batches(datamodule, "train"), strict=True))
    # 3 rows for 2 clips: row floor(3/2 (i + 1/2)) is the middle one of clip i
    assert {row for batch in first for row in batch.per_pair().video[:, 0, 1].tolist()} == {0}


def test_another_split_can_be_tested(arguments: dict[str, Any]) -> None:
    datamodule = ready(arguments | {"tested": "val"})
    assert indices(datamodule.test_dataloader()) == [0, 1, 2]
    with pytest.raises(DataError, match="split must be one of train, val, test; got 'dev'"):
        make(arguments | {"tested": "dev"})


def test_a_batch_that_is_kept_is_not_written_to_again(arguments: dict[str, Any]) -> None:
    loader = ready(arguments | {"batch_size": 1}).test_dataloader()
    kept = list(loader)
    for batch, again in zip(kept, loader, strict=True):
        assert equal(batch, again)
    assert len({batch.video.data_ptr() for batch in kept}) == len(kept)
