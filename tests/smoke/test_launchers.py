"""Other ways to run and to choose the jobs of a sweep than the one that is taken unless told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from commands import TINY, call


@pytest.mark.parametrize(("launcher", "package"), [("joblib_pair", "joblib"), ("slurm_local", "submitit")])
def test_launchers_of_others_run_the_same_jobs(
    launcher: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip(package, reason="needs the extra [sweeps]")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    arguments = ("train", "-m", *TINY, "seed=0,1", f"hydra/launcher={launcher}", "hydra.sweep.dir=sweep")
    ended = call(*arguments, folder=tmp_path)
    assert ended.code == 0, ended.err
    for job in (0, 1):
        folder = tmp_path / "sweep" / str(job)
        assert json.loads((folder / "results.json").read_text(encoding="utf-8"))["seed"] == job
        assert (folder / "predictions.jsonl").exists()


def test_optuna_chooses_among_jobs_that_run(tmp_path: Path) -> None:
    pytest.importorskip("optuna", reason="needs the extra [sweeps]")
    chosen = ("hydra/sweeper=optuna", "hydra.sweeper.trials=3", "hydra/launcher=basic", "hydra.sweep.dir=sweep")
    ended = call("train", "-m", *TINY, *chosen, "model.pyramid_levels=range(1,9)", folder=tmp_path)
    assert ended.code == 0, ended.err
    jobs = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(tmp_path.glob("sweep/*/results.json"))]
    assert len(jobs) == 3
    best = json.loads((tmp_path / "sweep" / "best.json").read_text(encoding="utf-8"))
    assert best["score"] == max(job["validation"]["score"] for job in jobs)
    assert jobs[best["job"]]["validation"]["score"] == best["score"]
