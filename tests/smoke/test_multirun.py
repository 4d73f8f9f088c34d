"""Several jobs of one command, each in a folder of its own."""

from __future__ import annotations

import json
from pathlib import Path

from omegaconf import OmegaConf

from commands import TINY, call


def test_every_job_has_a_folder_with_its_results(tmp_path: Path) -> None:
    ended = call("train", "-m", *TINY, "model.pyramid_levels=1,2", "hydra.sweep.dir=sweep", folder=tmp_path)
    assert ended.code == 0, ended.err
    results = [json.loads((tmp_path / f"sweep/{job}/results.json").read_text(encoding="utf-8")) for job in (0, 1)]
    assert results[0]["parameters"] < results[1]["parameters"]
    for job in (0, 1):
        folder = tmp_path / "sweep" / str(job)
        cfg = OmegaConf.load(folder / "config.yaml")
        assert cfg.model.pyramid_levels == job + 1
        assert cfg.output_dir == str(folder)
        files = {path.name for path in folder.rglob("*") if path.is_file()}
        assert {"best.ckpt", "last.ckpt", "metrics.csv", "predictions.jsonl", "train.log"} <= files
    assert {path.name for path in tmp_path.iterdir()} == {"sweep", "data"}


def test_a_job_is_the_run_that_it_would_be_alone(tmp_path: Path) -> None:
    call("train", "-m", *TINY, "seed=1,2", "hydra.sweep.dir=sweep", folder=tmp_path)
    call("train", *TINY, "seed=2", "hydra.run.dir=alone", folder=tmp_path)
    alone = (tmp_path / "alone/predictions.jsonl").read_bytes()
    assert alone == (tmp_path / "sweep/1/predictions.jsonl").read_bytes()
    assert alone != (tmp_path / "sweep/0/predictions.jsonl").read_bytes()


def test_a_job_that_cannot_work_ends_the_command_with_its_reason(tmp_path: Path) -> None:
    ended = call("train", "-m", *TINY, "model.pyramid_levels=1,99", "hydra.sweep.dir=sweep", folder=tmp_path)
    assert ended.code == 1
    assert "cpnet: model.pyramid_levels must be 1 to 8; got 99" in ended.err
    assert (tmp_path / "sweep/0/results.json").exists()
    assert not (tmp_path / "sweep/1/results.json").exists()
