"""Oracle: the tiny corpus, and one ``json.dumps`` per pair."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from commands import read_jsonl
from corpora import TEST, Table, process, ready, trainer, write_corpus
from cpnet.data.datamodule import GroundingDataModule
from cpnet.data.moment import Moment
from cpnet.training.callbacks.predictions import PredictionWriter
from cpnet.training.losses import GroundingLoss
from cpnet.training.module import GroundingModule, Prediction


def module() -> GroundingModule:
    answers = torch.rand(len(TEST), 2, generator=torch.Generator().manual_seed(0))
    return GroundingModule(model=Table(answers), loss=GroundingLoss())


def test_every_pair_is_written_once_in_split_order(datamodule: GroundingDataModule, tmp_path: Path) -> None:
    writer = PredictionWriter(tmp_path / "predictions.jsonl", datamodule.dataset("test").moments)
    writer.training = datamodule.dataset("train").moments
    run = trainer(callbacks=[writer])
    for _ in range(2):  # the second test replaces the first
        run.test(module(), datamodule=datamodule, verbose=False)
        assert writer.written == len(TEST)
    found = read_jsonl(writer.path)
    assert [row["qid"] for row in found] == [each.qid for each in TEST]
    for row, each in zip(found, TEST, strict=True):
        assert set(row) == {"qid", "video", "query", "duration", "predicted", "true", "iou", "rarest"}
        trained = [each.query.lower().strip(".").split() for each in datamodule.dataset("train").moments]
        words = each.query.lower().strip(".").split()
        assert row["rarest"] == min(sum(word in query for query in trained) for word in words)
        assert (row["video"], row["query"], row["duration"]) == (each.video, each.query, each.duration_sec)
        ((start, end),) = each.windows_sec
        assert row["true"] == [[start, min(end, each.duration_sec)]]
        assert np.shape(row["predicted"]) == (1, 2)


def test_raw_ground_truth_is_not_clipped(tmp_path: Path) -> None:
    datamodule = ready(write_corpus(tmp_path) | {"ground_truth": "raw"})
    writer = PredictionWriter(tmp_path / "predictions.jsonl", datamodule.dataset("test").moments)
    trainer(callbacks=[writer]).test(module(), datamodule=datamodule, verbose=False)
    assert read_jsonl(writer.path)[1]["true"] == [[5.0, 12.5]]


def test_split_without_true_windows_gets_a_submission(tmp_path: Path) -> None:
    unknown = [replace(TEST[0], qid="7", numbered=True, windows_sec=()), replace(TEST[3], qid="8", windows_sec=())]
    path = answered(tmp_path / "predictions.jsonl", unknown, [1, 0]).path
    assert [(row["true"], row["iou"]) for row in read_jsonl(path)] == [([], None)] * 2
    submitted = read_jsonl(tmp_path / "submission.jsonl")
    for row, qid, each, line in zip(read_jsonl(path), (7, "8"), unknown, submitted, strict=True):
        ranked = [[*row["predicted"][0], 1.0], [*row["predicted"][1], 0.5]]
        assert line == {"qid": qid, "query": each.query, "vid": each.video, "pred_relevant_windows": ranked}
    missed = [replace(TEST[1], qid="9", numbered=True, windows_sec=())]
    writer = PredictionWriter(path, unknown, missed=missed)
    write(writer, [1, 0])
    assert [each["qid"] for each in read_jsonl(tmp_path / "submission.jsonl")] == [7, "8", 9]
    answered(path, TEST[:2], [0, 1])
    assert not (tmp_path / "submission.jsonl").exists()


def answer(indices: Iterable[int]) -> Prediction:
    """Return the predictions of a test, with numbers that need all digits: two spans, and the first again."""
    index = torch.tensor([*indices])
    first = torch.stack([index / 7, index / 3], dim=1).double()
    ranked_sec = torch.stack([first, first + 1, first], dim=1)
    return Prediction(indices=index, ranked_sec=ranked_sec, iou=1 / (index.double() + 3))


def answered(path: Path, moments: Sequence[Moment], order: Iterable[int]) -> PredictionWriter:
    """Pass predictions to the writer."""
    return write(PredictionWriter(path, moments), order)


def write(writer: PredictionWriter, order: Iterable[int]) -> PredictionWriter:
    measured = module()
    measured.prediction = answer(order)
    writer.on_test_end(process(0, 1), measured)
    return writer


def expected(moments: Sequence[Moment]) -> bytes:
    """Return the expected file, one ``json.dumps`` per pair."""
    rows = []
    for index, each in enumerate(moments):
        batch = answer([index])
        row = {
            "qid": each.qid,
            "video": each.video,
            "query": each.query,
            "duration": each.duration_sec,
            "predicted": batch.ranked_sec[0].tolist(),
            "true": each.windows_sec,
            "iou": batch.iou.item(),
            "rarest": None,
        }
        rows.append(json.dumps(row, ensure_ascii=False) + "\n")
    return "".join(rows).encode()


def test_file_has_the_order_of_the_split(tmp_path: Path) -> None:
    writer = answered(tmp_path / "predictions.jsonl", TEST, [6, 0, 3, 5, 1, 2, 4])
    assert writer.path.read_bytes() == expected(TEST)
    assert writer.written == 7


@pytest.mark.slow
def test_pairs_are_converted_in_chunks(tmp_path: Path) -> None:
    pairs = 8_000
    moments = TEST[:1] * pairs
    tracemalloc.start()
    try:
        writer = answered(tmp_path / "predictions.jsonl", moments, reversed(range(pairs)))
        assert tracemalloc.get_traced_memory()[1] < 150 * pairs  # bytes; lists need more than 600 per pair
    finally:
        tracemalloc.stop()
    assert writer.path.read_bytes() == expected(moments)
