"""Oracle: the tiny corpus, and the metrics computed again from the file alone."""

from __future__ import annotations

import json
import multiprocessing
import tracemalloc
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pytorch_lightning import LightningModule

from corpora import TEST, Table, process, ready, trainer, write_corpus
from cpnet.data.datamodule import GroundingDataModule
from cpnet.data.moment import Moment
from cpnet.losses import GroundingLoss
from cpnet.module import GroundingModule, Prediction
from cpnet.predictions import PredictionWriter
from metrics import reference

FORKS = pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this platform cannot fork")


@pytest.fixture
def datamodule(tmp_path: Path) -> GroundingDataModule:
    return ready(write_corpus(tmp_path))


def module() -> GroundingModule:
    answers = torch.rand(len(TEST), 2, generator=torch.Generator().manual_seed(0))
    return GroundingModule(model=Table(answers), loss=GroundingLoss())


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def check(path: Path, metrics: dict[str, float]) -> None:
    """Compute the metrics from the file alone."""
    found = rows(path)
    ranked = np.array([row["predicted"] for row in found])
    target = np.array([row["true"] for row in found])
    duration = np.array([row["duration"] for row in found])
    expected = {"test/mIoU": reference.mean_iou(ranked, target)}
    for m in (0.3, 0.5, 0.7):
        expected[f"test/R1@{m}"] = reference.recall(ranked, target, n=1, threshold=m)
        expected[f"test/dR1@{m}"] = reference.discounted_recall(ranked, target, duration, n=1, threshold=m)
    assert {key: metrics[key] for key in expected} == pytest.approx(expected)
    assert 100 * sum(row["iou"] for row in found) / len(found) == pytest.approx(metrics["test/mIoU"])


def write(datamodule: GroundingDataModule, path: Path, **changes: Any) -> dict[str, float]:
    """Test the tiny model; return the metrics."""
    writer = PredictionWriter(path, datamodule.dataset("test").moments)
    run = trainer(callbacks=[writer], **changes)
    run.test(module(), datamodule=datamodule, verbose=False)
    return {key: value.item() for key, value in run.callback_metrics.items()}


def test_every_pair_once_in_the_order_of_the_split(datamodule: GroundingDataModule, tmp_path: Path) -> None:
    writer = PredictionWriter(tmp_path / "predictions.jsonl", datamodule.dataset("test").moments)
    run = trainer(callbacks=[writer])
    for _ in range(2):  # the second run begins anew
        run.test(module(), datamodule=datamodule, verbose=False)
        assert writer.written == len(TEST)
    found = rows(writer.path)
    assert [row["qid"] for row in found] == [each.qid for each in TEST]
    for row, each in zip(found, TEST, strict=True):
        assert set(row) == {"qid", "video", "query", "duration", "predicted", "true", "iou"}
        assert (row["video"], row["query"], row["duration"]) == (each.video, each.query, each.duration_sec)
        assert row["true"] == [each.start_sec, min(each.end_sec, each.duration_sec)]
        assert np.shape(row["predicted"]) == (1, 2)


def test_the_metrics_follow_from_the_file_alone(datamodule: GroundingDataModule, tmp_path: Path) -> None:
    check(tmp_path / "predictions.jsonl", write(datamodule, tmp_path / "predictions.jsonl"))


def test_raw_truths_are_written_raw(tmp_path: Path) -> None:
    datamodule = ready(write_corpus(tmp_path) | {"ground_truth": "raw"})
    check(tmp_path / "predictions.jsonl", write(datamodule, tmp_path / "predictions.jsonl"))
    assert rows(tmp_path / "predictions.jsonl")[1]["true"] == [5.0, 12.5]


def test_sentences_stay_readable(datamodule: GroundingDataModule, tmp_path: Path) -> None:
    write(datamodule, tmp_path / "predictions.jsonl")
    assert "the café door “opens”" in (tmp_path / "predictions.jsonl").read_text(encoding="utf-8")


def test_no_file_is_left_half_written(datamodule: GroundingDataModule, tmp_path: Path) -> None:
    path = tmp_path / "predictions.jsonl"
    path.write_text("old")
    writer = PredictionWriter(path, TEST[:3])  # of another split: the fourth answer has no pair
    with pytest.raises(IndexError):
        trainer(callbacks=[writer]).test(module(), datamodule=datamodule, verbose=False)
    assert path.read_text() == "old"
    assert not list(tmp_path.glob("*.tmp"))


def answer(indices: Iterable[int]) -> Prediction:
    """What the test step returns for some pairs, with decimals that cannot be written shortly."""
    index = torch.tensor([*indices])
    ranked_sec = torch.stack([index / 7, index / 3], dim=1).double()[:, None].repeat(1, 2, 1)
    return Prediction(index=index, ranked_sec=ranked_sec, iou=1 / (index.double() + 3))


def answered(
    path: Path, moments: Sequence[Moment], batches: Iterable[Iterable[int]], *, rank: int = 0, world: int = 1
) -> PredictionWriter:
    """Run the writer of one process over the batches of a split."""
    writer, module = PredictionWriter(path, moments), LightningModule()
    writer.on_test_epoch_start(process(rank, world), module)
    for number, batch in enumerate(batches):
        writer.on_test_batch_end(process(rank, world), module, answer(batch), None, number)
    writer.on_test_epoch_end(process(rank, world), module)
    return writer


def expected(moments: Sequence[Moment]) -> bytes:
    """The file, a json.dumps a pair."""
    rows = []
    for index, each in enumerate(moments):
        batch = answer([index])
        row = {
            "qid": each.qid,
            "video": each.video,
            "query": each.query,
            "duration": each.duration_sec,
            "predicted": batch["ranked_sec"][0].tolist(),
            "true": [each.start_sec, each.end_sec],
            "iou": batch["iou"].item(),
        }
        rows.append(json.dumps(row, ensure_ascii=False) + "\n")
    return "".join(rows).encode()


@pytest.mark.parametrize(
    "batches",
    [
        [range(7)],
        [[number] for number in range(7)],
        [[6, 0], [3], [5, 1, 2, 4]],
    ],
    ids=["one batch", "batches of one", "another order"],
)
def test_the_bytes_are_those_of_a_dump_a_pair(tmp_path: Path, batches: list[Iterable[int]]) -> None:
    writer = answered(tmp_path / "predictions.jsonl", TEST, batches)
    assert writer.path.read_bytes() == expected(TEST)
    assert writer.written == 7


def test_a_split_of_one_pair_is_one_line(tmp_path: Path) -> None:
    writer = answered(tmp_path / "predictions.jsonl", TEST[:1], [[0]])
    assert (writer.path.read_bytes(), writer.written) == (expected(TEST[:1]), 1)


def test_many_pairs_are_no_python_objects_all_at_once(tmp_path: Path) -> None:
    pairs = 8_000
    moments = TEST[:1] * pairs
    batches = [range(start, start + 100) for start in range(0, pairs, 100)]
    tracemalloc.start()
    try:
        writer = answered(tmp_path / "predictions.jsonl", moments, reversed(batches))
        assert tracemalloc.get_traced_memory()[1] < 100 * pairs  # bytes; as lists they are more than 400 a pair
    finally:
        tracemalloc.stop()
    assert writer.path.read_bytes() == expected(moments)


def test_an_interruption_leaves_the_old_file(tmp_path: Path) -> None:
    class Interrupted(list[Moment]):
        def __getitem__(self, index: Any) -> Any:
            if index == 3:
                raise KeyboardInterrupt
            return super().__getitem__(index)

    path = tmp_path / "predictions.jsonl"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt):
        answered(path, Interrupted(TEST), [range(7)])
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [("predictions.jsonl", "old")]


def take_part(folder: Path, moments: Sequence[Moment], rank: int, batches: Sequence[Sequence[Sequence[int]]]) -> None:
    """Be one of several processes, each of which has batches of its own; note how many pairs were written."""
    world = len(batches)
    torch.distributed.init_process_group("gloo", f"file://{folder}/meeting", rank=rank, world_size=world)
    try:
        writer = answered(folder / f"{rank}.jsonl", moments, batches[rank], rank=rank, world=world)
        (folder / f"{rank}.written").write_text(str(writer.written))
    finally:
        torch.distributed.destroy_process_group()


@FORKS
@pytest.mark.parametrize(
    ("pairs", "batches"),
    [
        (7, [[[0, 2], [4, 6]], [[1, 3], [5]]]),
        (7, [[[0, 3], [6]], [], [[1, 2], [4, 5]]]),
        (7, [[], [[4, 5, 6]], [[0, 1, 2, 3]]]),
        (1, [[[0]], []]),
    ],
    ids=["two", "one without pairs", "the first without pairs", "one pair"],
)
def test_the_first_process_writes_what_all_have_answered(
    tmp_path: Path, pairs: int, batches: list[list[list[int]]]
) -> None:
    forks = multiprocessing.get_context("fork")
    ranks = [
        forks.Process(target=take_part, args=(tmp_path, TEST[:pairs], rank, batches)) for rank in range(len(batches))
    ]
    for each in ranks:
        each.start()
    for each in ranks:
        each.join(60)
    assert [each.exitcode for each in ranks] == [0] * len(batches)
    assert [path.name for path in tmp_path.glob("*.jsonl")] == ["0.jsonl"]
    assert (tmp_path / "0.jsonl").read_bytes() == expected(TEST[:pairs])
    written = [int((tmp_path / f"{rank}.written").read_text()) for rank in range(len(batches))]
    assert written == [pairs, *[0] * (len(batches) - 1)]


@FORKS
def test_two_processes_write_what_one_writes(datamodule: GroundingDataModule, tmp_path: Path) -> None:
    alone = write(datamodule, tmp_path / "one.jsonl")
    together = write(datamodule, tmp_path / "two.jsonl", devices=2, strategy="ddp_fork")
    assert (tmp_path / "two.jsonl").read_bytes() == (tmp_path / "one.jsonl").read_bytes()
    del alone["test/reversed"], together["test/reversed"]
    assert together == pytest.approx(alone, rel=1e-12)
