"""Optional launchers and sweepers of Hydra."""

from __future__ import annotations

from pathlib import Path

import pytest

from commands import TINY, call, read_json


@pytest.mark.slow
@pytest.mark.parametrize(("launcher", "package"), [("joblib_pair", "joblib"), ("slurm_local", "submitit")])
def test_other_launchers_run_jobs_with_several_processes(launcher: str, package: str, tmp_path: Path) -> None:
    pytest.importorskip(package, reason="needs the extra [sweeps]")
    several = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.limit_train_batches=2", "epochs=1")
    sweep = ("seed=0,1", "hydra.sweep.dir=sweep", f"hydra/launcher={launcher}")
    call("train", "-m", *TINY, *several, *sweep, folder=tmp_path, environment={"OMP_NUM_THREADS": "1"})
    for job in (0, 1):
        assert read_json(tmp_path / f"sweep/{job}/results.json")["seed"] == job


@pytest.mark.slow
def test_optuna_chooses_the_jobs(tmp_path: Path) -> None:
    pytest.importorskip("optuna", reason="needs the extra [sweeps]")
    chosen = ("hydra/sweeper=optuna", "hydra.sweeper.trials=3", "hydra/launcher=basic", "hydra.sweep.dir=sweep")
    call("train", "-m", *TINY, *chosen, "model.pyramid_levels=range(1,9)", folder=tmp_path)
    jobs = [read_json(path) for path in sorted(tmp_path.glob("sweep/*/results.json"))]
    assert len(jobs) == 3
    best = read_json(tmp_path / "sweep" / "best.json")
    assert best["score"] == max(job["validation"]["score"] for job in jobs)
    assert jobs[best["job"]]["validation"]["score"] == best["score"]
