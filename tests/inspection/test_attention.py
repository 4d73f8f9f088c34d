"""Attention of a trained run. Oracle: the model's output and maps on one pair at a time, computed with numpy."""

from __future__ import annotations

import base64
import gzip
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf

from commands import call
from cpnet.inspection.attention import look
from cpnet.inspection.observe import open_models
from cpnet.reporting.explorer.pack import Attention, sorted_qids
from cpnet.reporting.gather import Run, gather


def read(folder: Path) -> Run:
    (run,) = gather([folder]).runs
    return run


def test_attention_is_that_of_the_best_checkpoint(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    run, pairs = read(Path("run")), 5
    (found,) = look([run], pairs)
    assert isinstance(found, Attention)
    (other,) = look([replace(run, scores={"mIoU": 1 - run.scores["mIoU"]})], pairs)
    assert isinstance(other, str)
    assert "predicts other spans than predictions.jsonl has" in other
    chosen = {"checkpoint": "run/checkpoints/best.ckpt", "against": None, "split": "test"}
    _, (observer,) = open_models(OmegaConf.create({**run.config, **chosen}))
    by_qid = {moment.qid: row for row, moment in enumerate(observer.dataset.moments)}
    qids, iou = sorted_qids(run), run.scores["mIoU"]
    ranks = np.argsort(iou, kind="stable")[np.linspace(0, len(iou) - 1, pairs).round().astype(int)]
    assert [*found.pairs] == sorted(ranks.tolist())
    for place_, clips, words, weights in zip(found.pairs, found.clips, found.words, found.weights, strict=True):
        row = by_qid[qids[place_]]
        observed = observer.observe([row])[row]
        assert observed.iou == pytest.approx(iou[place_], abs=1e-5)
        curve = np.asarray(observed.attention, float)
        assert np.abs(clips - 255 * curve / curve.max()).max() <= 0.51
        s_q = observer.maps(row)[0].query
        assert len(words) == s_q.shape[1] == len(observer.dataset.moments[row].query.replace(".", " .").split())
        assert np.abs(weights - 255 * (curve[:, None] * s_q).sum(axis=0)).max() <= 0.6


def packed(page: str) -> dict[str, Any]:
    block = re.findall(r'id="columns-0">([^<]*)<', page)[0]
    columns: dict[str, Any] = json.loads(gzip.decompress(base64.b64decode(block)))
    return columns


@pytest.mark.slow
def test_report_has_the_attention_or_says_what_it_lacks(place: Path, tmp_path: Path) -> None:
    call("report", "runs=run", "attention=all", f"output_dir={tmp_path}", "resamples=100", folder=place)
    (run,) = packed((tmp_path / "report.html").read_text(encoding="utf-8"))["runs"]
    assert run["attention"]["pairs"] == [*range(len(run["iou"]))]
    shutil.copytree(place / "run", tmp_path / "other/run", ignore=shutil.ignore_patterns("*.ckpt"))
    arguments = (f"runs={tmp_path / 'other'}", "attention=2", f"output_dir={tmp_path}", "resamples=100")
    ended = call("report", *arguments, folder=place)
    assert "no attention: checkpoints/best.ckpt is missing" in ended.err + ended.out
    (run,) = packed((tmp_path / "report.html").read_text(encoding="utf-8"))["runs"]
    assert run["without"] == "checkpoints/best.ckpt is missing"
