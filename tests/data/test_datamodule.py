"""Oracle: the tiny corpus, and the sets and orders that the docstrings promise."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, DistributedSampler

from corpora import (
    CLIPS,
    DIM,
    ROWS,
    SPLITS,
    TEST,
    TRAIN,
    UNKNOWN_WORD,
    VAL,
    WORDS,
    moment,
    process,
    ready,
    rows,
    write_corpus,
    write_features,
    write_jsonl,
)
from cpnet.batch import GroundingBatch
from cpnet.data.datamodule import GroundingDataModule
from cpnet.data.features import feature_pack, open_features
from cpnet.data.features.pack import pack
from cpnet.data.moment import Moment
from cpnet.data.readers import read_jsonl
from cpnet.data.sampling import Pick
from cpnet.errors import DataError
from device import DEVICE

HOLDOUT = {"validation": "holdout", "holdout_fraction": 0.3}


@pytest.fixture
def arguments(tmp_path: Path) -> dict[str, Any]:
    return write_corpus(tmp_path)


def annotate(arguments: dict[str, Any], split: str, moments: list[Moment]) -> None:
    """Replace the annotations of a split."""
    write_jsonl(Path(arguments["splits"][split]["annotations"]), moments)


def videos(datamodule: GroundingDataModule, split: str) -> set[str]:
    return {each.video for each in datamodule.dataset(split).moments}


def equal(first: GroundingBatch, second: GroundingBatch) -> bool:
    here, there = ({k: v for k, v in vars(batch).items() if v is not None} for batch in (first, second))
    return here.keys() == there.keys() and all(torch.equal(value, there[name]) for name, value in here.items())


def on_cpu(datamodule: GroundingDataModule, loader: DataLoader[Any]) -> list[GroundingBatch]:
    """Return the batches that a model gets, moved to the CPU."""
    datamodule.dataset("train").features.to(DEVICE)
    return [datamodule.transfer_batch_to_device(batch, DEVICE, 0).to("cpu") for batch in loader]


def batches(datamodule: GroundingDataModule, split: str) -> list[GroundingBatch]:
    return on_cpu(datamodule, datamodule.evaluation_dataloader(split))


# Splits


def test_hash_of_the_pairs_is_that_of_train_and_val(tmp_path: Path) -> None:
    def pairs(**changes: Any) -> str:
        splits = {name: [replace(first, **changes.get(name, {})), *others] for name, (first, *others) in SPLITS.items()}
        return ready(write_corpus(tmp_path, splits)).pairs

    own = pairs()
    assert own == pairs() == pairs(test={"query": "he sits"})
    for change in ({"query": "he sits"}, {"qid": "new"}, {"windows_sec": ((0.0, 1.0),)}, {"duration_sec": 99.0}):
        assert own not in (pairs(train=change), pairs(val=change))


def test_validation_from_a_file(arguments: dict[str, Any]) -> None:
    datamodule = ready(arguments)
    assert list(datamodule.dataset("train").moments) == TRAIN
    assert list(datamodule.dataset("val").moments) == VAL
    assert [each.qid for each in datamodule.dataset("test").moments] == [each.qid for each in TEST]


def test_validation_on_held_out_videos(arguments: dict[str, Any]) -> None:
    Path(arguments["splits"]["val"]["annotations"]).unlink()  # not read
    datamodule = ready(arguments | HOLDOUT)
    held_out = videos(datamodule, "val")
    assert len(held_out) == 3
    assert not held_out & videos(datamodule, "train")
    assert list(datamodule.dataset("val").moments) == [each for each in TRAIN if each.video in held_out]
    assert list(datamodule.dataset("train").moments) == [each for each in TRAIN if each.video not in held_out]


def test_validation_on_the_test_split_is_a_warning(arguments: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    datamodule = ready(arguments | {"validation": "test"})
    assert datamodule.dataset("val").moments == datamodule.dataset("test").moments
    (warning,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert "the checkpoint is selected on test" in warning


@pytest.mark.parametrize(("ground_truth", "end_sec"), [("clipped", 10.0), ("raw", 12.5)])
def test_ground_truth_of_evaluation(ground_truth: str, end_sec: float, arguments: dict[str, Any]) -> None:
    annotate(arguments, "train", [moment("long", "t00", (8.0, 11.0)), *TRAIN])
    datamodule = ready(arguments | {"ground_truth": ground_truth})
    batch = next(iter(datamodule.test_dataloader()))
    assert batch.windows_sec[1].tolist() == [[5.0, end_sec]]  # of 10 s
    assert batch.windows[1].tolist() == [[0.5, 1.0]]
    assert datamodule.dataset("train").moments[0].windows_sec[0][1] == 10.0


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_defect_is_dropped_in_training_and_an_error_elsewhere(split: str, arguments: dict[str, Any]) -> None:
    kept = {"train": TRAIN, "val": VAL, "test": TEST}[split]
    annotate(arguments, split, [*kept, moment("broken", "v00", (5.0, 2.0))])
    if split != "train":
        with pytest.raises(DataError, match=rf"{split}: 1 windows .* broken \(reversed: 5.00 to 2.00 of 10.00 s\)"):
            ready(arguments)
    dropped = ready(arguments | {"on_defect": "error" if split == "train" else "drop"})
    assert [each.qid for each in dropped.dataset(split).moments] == [each.qid for each in kept]


def test_second_setup_reads_nothing(arguments: dict[str, Any]) -> None:
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


def test_corpus_is_generated_before_it_is_read(arguments: dict[str, Any], tmp_path: Path) -> None:
    for file in tmp_path.iterdir():
        file.unlink()
    assert len(ready(arguments | {"generate": lambda: write_corpus(tmp_path)}).dataset("test")) == len(TEST)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"validation": "dev"}, r"dataset\.validation must be one of file, holdout, test; got 'dev'"),
        ({"ground_truth": "cut"}, r"dataset\.ground_truth must be one of clipped, raw; got 'cut'"),
        ({"on_defect": "ignore"}, r"dataset\.on_defect must be one of error, drop; got 'ignore'"),
        ({"on_missing": "skip"}, r"dataset\.on_missing must be one of error, drop; got 'skip'"),
        ({"blind": "both"}, r"dataset\.blind must be one of none, video, query; got 'both'"),
        ({"max_words": 0}, r"dataset\.max_words must be 1 or more; got 0"),
        ({"batch_size": 0}, "batch_size must be 1 or more; got 0"),
        ({"evaluation_order": "age"}, r"evaluation_order must be one of split, length, video; got 'age'"),
        ({"features": {"placement": "gpu"}}, r"features\.placement must be one of auto, .*, device; got 'gpu'"),
        ({"tested": "dev"}, "split must be one of train, val, test; got 'dev'"),
        ({"splits": {"train": {}, "test": {}}}, r"dataset\.splits must hold test, train, val; got train, test"),
        *(({**HOLDOUT, "holdout_fraction": share}, "fraction|leaves 10 for training and 0") for share in (0, 1, 0.01)),
    ],
)
def test_impossible_values_are_named(changes: dict[str, Any], message: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=message):
        ready(arguments | changes)


# Words


def test_vocabulary_has_the_words_of_all_splits(arguments: dict[str, Any]) -> None:
    assert ready(arguments).vocabulary.words == ("", "<unk>", *WORDS)
    for split, query in (("train", "open"), ("val", "close"), ("test", "window")):
        pairs = [moment(f"{split}-{number}", "v00", (1.0, 2.0), query=query) for number in range(2)]
        annotate(arguments, split, pairs)
    datamodule = ready(arguments)
    assert datamodule.vocabulary.words == ("", "<unk>", "close", "open", "window")
    assert datamodule.vocabulary.vectors[2:].tolist() == [[5, -ord("c")], [4, -ord("o")], [6, -ord("w")]]


def test_unknown_and_cut_words_are_logged(arguments: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        ready(arguments)
    (line,) = [record.getMessage() for record in caplog.records if record.getMessage().startswith("words:")]
    assert "30 queries, 1 cut, longest 6 words; 5 of 88 tokens unknown" in line
    assert f"{UNKNOWN_WORD} (1)" in line


def test_vectors_of_another_language_are_refused(arguments: dict[str, Any]) -> None:
    for split in ("train", "val", "test"):
        annotate(arguments, split, [moment(split, "v00", (1.0, 2.0), query="一个人打开门")])
    with pytest.raises(DataError, match=r"glove\.txt holds no word of the queries; set dataset\.word_vectors\.path"):
        ready(arguments)


# Features


@pytest.mark.parametrize(
    ("gone", "on_missing", "said"),
    [
        ("t08 t09 e01", "error", "2 of 10 videos of split train have no features in .*: 't08', 't09'"),
        ("e01 e02", "error", "2 of 3 videos of split test have no features in .*: 'e01', 'e02'"),
        ("v00", "drop", "1 of 1 videos of split val have no features"),
    ],
)
def test_videos_without_features_are_listed(gone: str, on_missing: str, said: str, arguments: dict[str, Any]) -> None:
    write_features(Path(arguments["features"]["path"]), [name for name in ROWS if name not in gone.split()])
    with pytest.raises(DataError, match=said):
        ready(arguments | {"on_missing": on_missing})


@pytest.mark.parametrize("packed", [False, True])
def test_pairs_without_features_are_dropped_or_missed(
    packed: bool, arguments: dict[str, Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    gone, path = ["t03", "t07", "e01"], Path(arguments["features"]["path"])
    write_features(path, [name for name in ROWS if name not in gone])
    monkeypatch.setattr(feature_pack, "SMALL", 0)  # pack even this
    ready(features := arguments | {"on_missing": "drop", "features": arguments["features"] | {"pack": packed}})
    assert path.with_name("features.hdf5.packed").exists() == packed
    datamodule = ready(features)
    assert "train: 4 of 20 pairs are dropped, because 2 videos have no features in " in caplog.text
    assert "test: 2 of 7 pairs count as missed, because 1 videos have no features in " in caplog.text
    for split, every in (("train", TRAIN), ("val", VAL), ("test", TEST)):
        moments = datamodule.dataset(split).moments
        assert [each.qid for each in moments] == [each.qid for each in every if each.video not in gone]
        assert [each.qid for each in datamodule.missing[split]] == [e.qid for e in every if e.video in gone]
        for batch in batches(datamodule, split):  # the first column of a video's features is its number
            numbers = [[*ROWS].index(moments[row].video) for row in batch.index.tolist()]
            assert batch.per_pair().video[:, 0, 0].tolist() == numbers


def placed(arguments: dict[str, Any], placement: str) -> dict[str, Any]:
    return arguments | {"features": arguments["features"] | {"placement": placement}}


def pack_features(arguments: dict[str, Any]) -> None:
    source = open_features(**arguments["features"])
    pack(source, Path(f"{arguments['features']['path']}.packed"), videos=dict.fromkeys(source.ids(), 10.0))


@pytest.mark.parametrize("placement", ["disk", "memory", "device"])
@pytest.mark.parametrize("packed", [False, True])
def test_batches_are_the_same_for_every_placement(placement: str, packed: bool, arguments: dict[str, Any]) -> None:
    expected = batches(ready(placed(arguments, "disk")), "test")
    if packed:
        pack_features(arguments)
    found = batches(ready(placed(arguments, placement)), "test")
    for before, after in zip(expected, found, strict=True):
        assert equal(before, after)
        assert after.video.dtype == torch.float32


def test_clips_are_sampled_on_the_device_of_the_trainer(arguments: dict[str, Any]) -> None:
    datamodule = ready(placed(arguments, "device"))
    datamodule.trainer = process(0, 1)
    vars(datamodule.trainer)["strategy"] = SimpleNamespace(root_device=torch.device("meta"))
    datamodule.setup("fit")
    batch = next(iter(datamodule.train_dataloader()))
    assert (batch.video.device.type, batch.query.device.type) == ("meta", "cpu")


# Batches of training


def test_samplers_have_the_seed_and_process_of_the_run(arguments: dict[str, Any]) -> None:
    # In a run of several processes Lightning wraps every sampler that is not a DistributedSampler.
    datamodule = ready(arguments | {"seed": 5})
    datamodule.trainer = process(1, 3)
    samplers = [each.sampler for each in (datamodule.train_dataloader(), datamodule.test_dataloader())]
    for sampler in samplers:
        assert isinstance(sampler, DistributedSampler)
        assert (sampler.rank, sampler.num_replicas) == (1, 3)
    assert vars(samplers[0])["seed"] == 5
    assert [batch.index.tolist() for batch in datamodule.test_dataloader()] == [[3, 4, 5]]


def test_training_samples_clips_at_the_phase_of_each_pair(arguments: dict[str, Any]) -> None:
    dataset = ready(arguments).dataset("test")
    # Two rows in a clip: the first half of the phases picks the first of them.
    for phase, first in ((0.0, 0), (0.49, 0), (0.5, 1), (0.99, 1)):
        assert dataset[[(3, phase)]].video[0, :, 1].tolist() == [first, first + 2, first + 4, first + 6]
    for phase in (0.0, 0.7):  # fewer rows than clips
        assert torch.equal(dataset[[(0, phase)]].video[0, :2], torch.from_numpy(rows("e00")))
    assert dataset[[(3, 0.9), (3, 0.1), (2, 0.6)]].video[:, 0, 1].tolist() == [1, 0, 1]


@pytest.mark.parametrize(("blind", "other"), [("video", "query"), ("query", "video")])
def test_blind_model_gets_zeros_and_the_mask(blind: str, other: str, arguments: dict[str, Any]) -> None:
    plain, hidden = (ready(arguments | {"blind": blinded}).dataset("test") for blinded in ("none", blind))
    for index in range(len(TEST)):
        before, after = vars(plain[[index]]), vars(hidden[[index]])
        assert before[blind].any()
        assert not after[blind].any()
        for name in (f"{blind}_mask", other, f"{other}_mask"):
            assert torch.equal(before[name], after[name])


# Batches of evaluation


def test_batch_without_pairs_is_empty(arguments: dict[str, Any]) -> None:
    empty = ready(arguments).dataset("test")[()]
    assert (len(empty), empty.video.shape) == (0, (0, CLIPS, DIM))


def test_orders_of_evaluation(arguments: dict[str, Any]) -> None:
    annotate(arguments, "test", [TEST[0], TEST[4], TEST[1], TEST[3], TEST[6]])
    dataset = ready(arguments).dataset("test")
    assert dataset.order("split").tolist() == [0, 1, 2, 3, 4]
    assert dataset.order("length").tolist() == [1, 4, 0, 2, 3]  # 1, 2, 3, 3, 4 words
    assert dataset.order("video").tolist() == [0, 2, 1, 4, 3]  # e00, e00, e02, e02, e01


def test_batch_of_evaluation_by_hand(arguments: dict[str, Any]) -> None:
    first, second, third = ready(arguments).test_dataloader()
    assert [len(batch) for batch in (first, second, third)] == [3, 3, 1]
    assert first.index.tolist() == [0, 1, 2]
    assert first.query.tolist() == [[5, 2, 4], [3, 6, 7], [5, 6, 1]]  # rows 2 to 7: a close door open the window
    assert second.query_mask.tolist() == [[True] * 4, [True, False, False, False], [True, False, False, False]]
    assert first.video.shape == (3, CLIPS, DIM)
    assert first.video_mask.sum(dim=1).tolist() == [2, 2, CLIPS]
    assert third.windows_sec.tolist() == [[[2.5, 5.0]]]


def test_batches_in_the_order_of_videos_hold_each_video_once(arguments: dict[str, Any]) -> None:
    order = [4, 0, 6, 1, 5, 2, 3]  # pairs of one video are apart
    annotate(arguments, "test", [TEST[place] for place in order])
    plain = {int(i): b for b in batches(ready(arguments), "test") for i in b.index}
    found = batches(ready(arguments | {"evaluation_order": "video", "batch_size": 4}), "test")
    assert [(len(batch), len(batch.video)) for batch in found] == [(4, 2), (3, 2)]
    for batch in found:
        pairwise = batch.per_pair()
        for row, index in enumerate(batch.index.tolist()):
            other = plain[index]
            place = other.index.tolist().index(index)
            for name in ("video", "video_mask", "windows_sec"):
                assert torch.equal(vars(pairwise)[name][row], vars(other)[name][place])
    videos_of = [[TEST[order[i]].video for i in batch.index.tolist()] for batch in found]
    assert videos_of == [["e02", "e02", "e02", "e00"], ["e00", "e01", "e01"]]


def test_training_split_is_evaluated_without_a_random_phase(arguments: dict[str, Any]) -> None:
    datamodule = ready(arguments | {"sampling": Pick(clips=2)})
    first = batches(datamodule, "train")
    torch.manual_seed(99)
    assert all(equal(one, other) for one, other in zip(first, batches(datamodule, "train"), strict=True))
    # 3 rows for 2 clips: row floor(3/2 (i + 1/2)) is the middle one of clip i
    assert {row for batch in first for row in batch.video[:, 0, 1].tolist()} == {0}
