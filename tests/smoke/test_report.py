"""``python -m cpnet.report``: the command, on runs made up by hand and on one that was trained."""

from __future__ import annotations

import json
from pathlib import Path

from commands import Ended, call, spawn
from reporting.made import config, write_run

FILES = {"report.md", "report.tex", "report.csv", "report.json"}
PICTURES = {"recall.png", "iou.png", "moments.png"}


def report(folder: Path, *arguments: str) -> Ended:
    return call("report", "hydra.run.dir=there", *arguments, folder=folder)


def levels(folder: Path) -> None:
    for job in range(4):
        cfg = config(seed=job % 2, model__pyramid_levels=1 + job // 2, experiment_name="levels")
        write_run(folder / f"{job}", cfg=cfg)


def test_a_sweep_becomes_a_table_documents_and_pictures(tmp_path: Path) -> None:
    levels(tmp_path / "outputs/multirun")
    ended = report(tmp_path)
    assert ended.code == 0, ended.err
    for text in ("model.pyramid_levels=1", "difference to model.pyramid_levels=1", "the paper's cpnet"):
        assert text in ended.out
    names = {path.name for path in (tmp_path / "there").iterdir() if not path.name.startswith(".")}
    assert names == FILES | PICTURES | {"differences.png"}
    assert "outputs: " in ended.out.splitlines()[-1]
    assert "report.csv, report.json, report.md, report.tex, recall.png" in ended.out.splitlines()[-1]


def test_the_keys_choose(tmp_path: Path) -> None:
    levels(tmp_path / "one")
    write_run(tmp_path / "other/0", protocol={"dataset": "elsewhere"})
    (tmp_path / "README.md").write_text("<!-- results -->\n<!-- /results -->\n")
    ended = report(tmp_path, "runs=[one,other]", "experiment=levels", "baseline=model.pyramid_levels=2", "keep=results")
    assert ended.code == 0, ended.err
    kept = json.loads((tmp_path / "results/levels.json").read_text())
    assert kept["baseline"] == "model.pyramid_levels=2"
    assert "| levels | tiny | model.pyramid_levels=1 |" in (tmp_path / "README.md").read_text()
    ended = report(tmp_path, "runs=[one,other]")
    assert "2 tables, for runs of different protocols cannot be compared" in ended.out
    pictures = {path.name for path in (tmp_path / "there").glob("*.png")}
    assert {"1_tiny_recall.png", "2_elsewhere_recall.png", "1_tiny_differences.png"} <= pictures


def test_a_mistake_is_said_in_a_few_lines(tmp_path: Path) -> None:
    levels(tmp_path / "outputs")
    for arguments, complaint in (
        (("runs=nowhere",), "runs=nowhere: there is no such folder"),
        (("experiment=level",), "experiments found: levels (4 runs); 0 runs of no experiment"),
        (("baseline=x",), "baseline='x': no row has this name"),
        (("keep=outputs/0/results.json",), "keep=outputs/0/results.json is a file; it must be a folder"),
        (("resamples=1",), "resamples must be at least 100; got 1"),
        (("surprise=1",), "surprise: there is no such key."),
    ):
        ended = report(tmp_path, *arguments)
        assert ended.code == 1
        assert complaint in ended.err
        assert "Traceback" not in ended.err


def test_a_trained_run_is_a_row(place: Path, tmp_path: Path) -> None:
    ended = report(tmp_path, f"runs={place / 'run'}")  # others may lie beside it
    assert ended.code == 0, ended.err
    (table,) = json.loads((tmp_path / "there/report.json").read_text())["tables"]
    results = json.loads((place / "run/results.json").read_text())
    assert [row["name"] for row in table["rows"]] == ["cpnet_small"]
    for key, value in results["metrics"].items():
        assert abs(table["rows"][0]["metrics"][key]["mean"] - value) < 1e-6
    assert (tmp_path / "there/training.png").is_file()


def test_help_is_quick_to_come(tmp_path: Path) -> None:
    code = "import sys, cpnet.report; print(*{'torch', 'numpy', 'matplotlib'} & set(sys.modules))"
    ended = spawn("-c", code, folder=tmp_path)
    assert (ended.code, ended.out.strip()) == (0, "")
