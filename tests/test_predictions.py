"""Oracle: the tiny corpus, and the metrics computed again from the file alone."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pytorch_lightning import LightningModule

from corpora import TEST, Table, process, ready, trainer, write_corpus
from cpnet.data.datamodule import GroundingDataModule
from cpnet.losses import GroundingLoss
from cpnet.module import GroundingModule
from cpnet.predictions import PredictionWriter
from metrics import reference


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


def test_the_first_process_writes_what_all_have_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world, answers = 3, torch.rand(len(TEST), 1, 2, dtype=torch.float64)
    writers = [PredictionWriter(tmp_path / f"{rank}.jsonl", TEST) for rank in range(world)]
    for rank, writer in enumerate(writers):
        writer.on_test_epoch_start(process(rank, world), LightningModule())
        for batch in torch.split(torch.arange(rank, len(TEST), world), 2):
            outputs = {"index": batch, "ranked_sec": answers[batch], "iou": answers[batch, 0, 0]}
            writer.on_test_batch_end(process(rank, world), LightningModule(), outputs, None, 0)

    def gather(into: list[object], own: object) -> None:
        assert own in [writer.rows for writer in writers]
        into[:] = [writer.rows for writer in writers]

    monkeypatch.setattr(torch.distributed, "all_gather_object", gather)
    for rank, writer in enumerate(writers):
        writer.on_test_epoch_end(process(rank, world), LightningModule())
    assert [path.name for path in tmp_path.iterdir()] == ["0.jsonl"]
    assert [(row["qid"], row["predicted"]) for row in rows(tmp_path / "0.jsonl")] == [
        (each.qid, answer) for each, answer in zip(TEST, answers.tolist(), strict=True)
    ]
    assert [writer.written for writer in writers] == [len(TEST), 0, 0]


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this platform cannot fork")
def test_two_processes_write_what_one_writes(datamodule: GroundingDataModule, tmp_path: Path) -> None:
    alone = write(datamodule, tmp_path / "one.jsonl")
    together = write(datamodule, tmp_path / "two.jsonl", devices=2, strategy="ddp_fork")
    assert (tmp_path / "two.jsonl").read_bytes() == (tmp_path / "one.jsonl").read_bytes()
    del alone["test/reversed"], together["test/reversed"]
    assert together == pytest.approx(alone, rel=1e-12)
