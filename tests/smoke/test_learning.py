"""Training can overfit a handful of pairs."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

import pytest

from commands import call, read_json, read_jsonl

# Fifteen pairs of five videos in one batch, without regularisation
OVERFIT = (
    *("dataset=synthetic", "model=cpnet_small", "trainer=cpu", "trainer.enable_progress_bar=false"),
    *("dataset.generate.videos=10", "dataset.holdout_fraction=0.4", "batch_size=32", "sampling.clips=16"),
    *("model.hidden_dim=32", "model.dropout=0", "optimizer.lr=5e-3", "optimizer.weight_decay=0", "epochs=120"),
    *("callbacks.early_stopping=null", "trainer.check_val_every_n_epoch=60"),
)


def attention_floor(rows: list[dict[str, Any]], clips: int) -> float:
    """Return the minimum of Eq. 15, reached by uniform attention on each true span."""
    total = 0.0
    for row in rows:
        start, end = (time / float(str(row["duration"])) for time in row["true"][0])
        first = min(math.floor(start * clips), clips - 1)
        total += math.log(max(math.ceil(end * clips), first + 1) - first)
    return total / len(rows)


@pytest.mark.slow
def test_fifteen_pairs_are_overfitted(tmp_path: Path) -> None:
    call("train", *OVERFIT, "hydra.run.dir=run", folder=tmp_path)
    settings = ["checkpoint=run/checkpoints/last.ckpt", "split=train", "trainer=cpu", "hydra.run.dir=train"]
    call("evaluate", *settings, folder=tmp_path)
    results = read_json(tmp_path / "train/results.json")
    rows = read_jsonl(tmp_path / "train/predictions.jsonl")
    assert results["pairs"] == len(rows) == 15
    assert results["metrics"]["mIoU"] > 85
    assert results["metrics"]["R1@0.7"] > 90
    assert results["reversed"] == 0
    with (tmp_path / "run/metrics.csv").open(newline="", encoding="utf-8") as stream:
        last = [row for row in csv.DictReader(stream) if row["train/loss"]][-1]
    assert float(last["train/regression"]) < 1e-3
    assert float(last["train/attention"]) < attention_floor(rows, 16) + 0.1
