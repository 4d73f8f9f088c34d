"""From an experiment's name to its table, in its smallest size."""

from __future__ import annotations

from pathlib import Path

import pytest

from commands import call, read_json


@pytest.mark.slow
def test_an_experiment_leads_from_its_name_to_a_table(tmp_path: Path) -> None:
    quick = ("hydra/launcher=basic", "trainer.enable_progress_bar=false")
    call("train", "experiment=table1_ablation", "size=tiny", "seed=1", *quick, folder=tmp_path)
    (sweep,) = (tmp_path / "outputs/multirun/table1_ablation_tiny").iterdir()
    runs = [read_json(sweep / str(job) / "results.json") for job in range(3)]
    assert [(run["model"], run["seed"]) for run in runs] == [
        (model, 1) for model in ("cpnet_small", "cpnet_wo_cp_small", "cpnet_wo_cam_small")
    ]
    assert {run["experiment"] for run in runs} == {"table1_ablation_tiny"}

    call("report", "experiment=table1_ablation_tiny", "output_dir=report", "resamples=200", folder=tmp_path)
    (table,) = read_json(tmp_path / "report/report.json")["tables"]
    assert [row["name"] for row in table["rows"]] == [run["model"] for run in runs]
    for row, run in zip(table["rows"], runs, strict=True):
        assert {key: row["metrics"][key]["mean"] for key in run["metrics"]} == pytest.approx(run["metrics"], abs=1e-6)
    assert (tmp_path / "report/training.png").is_file()
