"""``python -m cpnet.train`` end to end on a corpus of twenty videos. Oracle: metrics recomputed from predictions."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from commands import TINY, call, read_json, read_jsonl
from cpnet.data.corpora.synthetic import SyntheticCorpus
from cpnet.evaluation.metrics import RESOLUTION
from cpnet.evaluation.protocol import Selection
from cpnet.runs.results import Results

THRESHOLDS = (0.3, 0.5, 0.7)
METRICS = {f"{letter}1@{m}" for letter in ("R", "dR") for m in THRESHOLDS} | {"mIoU"}


def read_csv(path: Path) -> dict[str, list[float]]:
    """Return the non-empty values of each column."""
    with path.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    return {name: [float(row[name]) for row in rows if row[name]] for name in rows[0]}


def iou_of(predicted: list[float], true: list[float]) -> float:
    shared = max(0.0, min(predicted[1], true[1]) - max(predicted[0], true[0]))
    return shared / (predicted[1] - predicted[0] + true[1] - true[0] - shared)


def metrics_of(rows: list[Any]) -> dict[str, float]:
    """Compute every metric by its definition, in per cent, from rows of a predictions file."""
    totals = dict.fromkeys(METRICS, 0.0)
    for row in rows:
        predicted, true = row["predicted"][0], row["true"][0]
        iou = iou_of(predicted, true)
        near = math.prod(1 - abs(p - t) / row["duration"] for p, t in zip(predicted, true, strict=True))
        totals["mIoU"] += iou
        for m in THRESHOLDS:
            totals[f"R1@{m}"] += iou >= m
            totals[f"dR1@{m}"] += near * (iou >= m)
    return {name: 100 * total / len(rows) for name, total in totals.items()}


def test_run_folder_holds_these_files(place: Path) -> None:
    run = place / "run"
    files = {path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file()}
    assert {file for file in files if not file.startswith(".hydra/")} == {
        *("config.yaml", "results.json", "predictions.jsonl", "metrics.csv", "train.log", ".lock"),
        *("checkpoints/best.ckpt", "checkpoints/last.ckpt"),
    }


def test_metrics_csv_has_training_validation_and_test_columns(place: Path) -> None:
    columns = read_csv(place / "run/metrics.csv")
    train = {
        f"train/{name}" for name in ("loss", "attention", "regression", "learning_rate", "gradient_norm", "skipped")
    }
    validation = {"val/loss", "val/attention", "val/regression", "val/reversed"} | {f"val/{name}" for name in METRICS}
    test = {"test/reversed"} | {f"test/{name}" for name in METRICS}
    assert set(columns) == {"epoch", "step"} | train | validation | test
    assert all(columns[name] and all(map(math.isfinite, columns[name])) for name in columns)
    assert columns["train/loss"][0] == pytest.approx(columns["train/attention"][0] + columns["train/regression"][0])
    assert columns["train/gradient_norm"][0] > 0
    assert columns["train/skipped"] == [0]
    assert (columns["epoch"], columns["step"]) == ([0, 1], [3, 3])  # one epoch and the test
    # Over the three steps of one cycle, the mean rate lies between its minimum, a 25th, and its maximum.
    assert 4e-4 / 25 < columns["train/learning_rate"][0] < 4e-4


def test_metrics_follow_from_predictions_alone(place: Path) -> None:
    rows = read_jsonl(place / "run/predictions.jsonl")
    results = read_json(place / "run/results.json")
    assert results["metrics"] == pytest.approx(metrics_of(rows), abs=100 * RESOLUTION)
    assert set(results["metrics"]) == METRICS
    for row in rows:
        assert row["iou"] == pytest.approx(iou_of(row["predicted"][0], row["true"][0]), abs=1e-12)
    for trivial in results["trivial"].values():
        constant = [{**row, "predicted": [[end * row["duration"] for end in trivial["span"]]]} for row in rows]
        assert trivial["metrics"] == pytest.approx(metrics_of(constant), abs=100 * RESOLUTION)


def test_predictions_follow_the_order_of_the_test_split(place: Path) -> None:
    rows = read_jsonl(place / "run/predictions.jsonl")
    lines = (place / "data/synthetic/charades_sta_test.txt").read_text(encoding="utf-8").splitlines()
    assert [f"{row['video']} {row['true'][0][0]:.2f} {row['true'][0][1]:.2f}##{row['query']}" for row in rows] == lines
    assert len({row["qid"] for row in rows}) == len(rows) == 12
    for row in rows:
        assert list(row) == ["qid", "video", "query", "duration", "predicted", "true", "iou", "rarest"]
        start, end = row["predicted"][0]
        assert 0 <= start <= end <= row["duration"]


def test_results_json_describes_the_run(place: Path) -> None:
    results = Results.read(place / "run")
    assert results.validation is not None
    assert (results.validation.monitor, results.validation.epoch) == ("val/mIoU", 0)
    assert results.precision in ("32-true", "bf16-mixed")  # auto depends on the machine
    assert (results.model, results.experiment, results.pairs, results.paper) == ("cpnet_small", None, 12, {})
    assert set(results.trivial) == {"whole video", "best constant, R@1,IoU=0.5", "best constant, mIoU"}
    assert set(results.seconds) == {"fit", "fit_cpu", "test"}
    assert results.forward is not None
    assert results.forward.gflop > 0
    assert (results.protocol.dataset, results.protocol.selection) == ("synthetic", Selection.HOLDOUT)
    weights = torch.load(place / "run/checkpoints/best.ckpt", weights_only=True)["state_dict"]
    assert results.parameters == sum(weight.numel() for weight in weights.values())


def test_stderr_is_empty(place: Path) -> None:
    assert (place / "complaints.txt").read_text(encoding="utf-8") == ""


def test_table_is_printed_and_log_is_kept(place: Path) -> None:
    printed = (place / "printed.txt").read_text(encoding="utf-8")
    results = read_json(place / "run/results.json")
    assert "synthetic, test split, 12 pairs" in printed
    for row in (results, *results["trivial"].values()):
        assert f" {row['metrics']['mIoU']:.2f} " in printed
    assert f"outputs: {place / 'run'}" in printed
    log = (place / "run/train.log").read_text(encoding="utf-8")
    assert "train: read 48 pairs of 16 videos with 48 true windows; clipped 0 starts" in log
    assert "val: 6 pairs held out of train, 42 remain in train" in log
    assert "tokens unknown" in log


def test_bfloat16_stays_close_to_float32(place: Path) -> None:
    settings = ["trainer.precision=bf16-mixed", "hydra.run.dir=bf16"]
    call("train", *TINY, *settings, folder=place)
    columns = read_csv(place / "bf16/metrics.csv")
    assert math.isfinite(columns["train/loss"][0])
    full = read_csv(place / "run/metrics.csv")
    assert columns["train/loss"][0] == pytest.approx(full["train/loss"][0], rel=0.05)
    rows = read_jsonl(place / "bf16/predictions.jsonl")
    assert all(0 <= end <= row["duration"] for row in rows for end in row["predicted"][0])


def test_published_corpus_needs_only_its_files(tmp_path: Path) -> None:
    folder = tmp_path / "data/charades_sta"
    SyntheticCorpus(folder=folder, annotations="charades_sta", videos=20, dim=1024, word_dim=300).prepare()
    (folder / "features.hdf5").rename(folder / "i3d_features.hdf5")
    (tmp_path / "data/glove").mkdir()
    (folder / "glove.txt").rename(tmp_path / "data/glove/glove.6B.300d.txt")
    settings = [setting for setting in TINY if not setting.startswith("dataset")]
    settings += ["dataset=charades_sta", "model=cpnet", "model.hidden_dim=16", "batch_size=8", "hydra.run.dir=run"]
    ended = call("train", *settings, folder=tmp_path)
    results = read_json(tmp_path / "run/results.json")
    assert results["protocol"]["dataset"] == "charades_sta"
    assert results["paper"]
    assert "the paper's" in ended.out
