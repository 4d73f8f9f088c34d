"""Two processes that share the work say what one says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from commands import TINY, call, spawn


@pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch was built without torch.distributed")
def test_two_processes_measure_every_pair_once(tmp_path: Path) -> None:
    settings = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.max_epochs=1", "hydra.run.dir=two"]
    ended = spawn("-m", "cpnet.train", *TINY, *settings, "dataset.generate.videos=21", folder=tmp_path)
    assert ended.code == 0, ended.err
    assert ended.out.count("outputs: ") == 1
    alone = ["checkpoint=two/checkpoints/best.ckpt", "trainer=cpu", "hydra.run.dir=one"]
    assert call("evaluate", *alone, folder=tmp_path).code == 0
    two, one = (json.loads((tmp_path / name / "results.json").read_text(encoding="utf-8")) for name in ("two", "one"))
    assert two["pairs"] == one["pairs"] == 12
    assert two["metrics"] == pytest.approx(one["metrics"], abs=1e-3)
    rows = [
        [json.loads(line) for line in (tmp_path / name / "predictions.jsonl").read_text(encoding="utf-8").splitlines()]
        for name in ("two", "one")
    ]
    assert [row["qid"] for row in rows[0]] == [row["qid"] for row in rows[1]]
    for mine, other in zip(*rows, strict=True):
        assert mine["predicted"][0] == pytest.approx(other["predicted"][0], abs=1e-4)
