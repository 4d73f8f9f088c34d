"""``python -m cpnet.report`` on written runs; ``test_experiments.py`` reports trained ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from commands import Ended, call, read_json
from reporting.made import config, write_run

FILES = {"breakdown.csv", "report.csv", "report.html", "report.json", "report.md", "report.tex"}
PICTURES = {"recall.png", "iou.png", "breakdown.png"}


def report(folder: Path, *arguments: str, code: int = 0) -> Ended:
    return call("report", "hydra.run.dir=there", *arguments, folder=folder, code=code)


def levels(folder: Path) -> None:
    for job in range(4):
        cfg = config(seed=job % 2, model__pyramid_levels=1 + job // 2, experiment_name="levels")
        write_run(folder / f"{job}", cfg=cfg)


def test_a_sweep_becomes_a_table_documents_and_pictures(tmp_path: Path) -> None:
    levels(tmp_path / "outputs/multirun")
    ended = report(tmp_path)
    for text in ("model.pyramid_levels=1", "difference to model.pyramid_levels=1", "the paper's cpnet"):
        assert text in ended.out
    names = {path.name for path in (tmp_path / "there").iterdir() if not path.name.startswith(".")}
    assert names == FILES | PICTURES | {"differences.png"}
    assert "outputs: " in ended.out.splitlines()[-1]
    assert "report.csv, report.html, report.json, report.md, report.tex, recall.png" in ended.out.splitlines()[-1]


@pytest.mark.slow
def test_keys_select_runs_and_baseline(tmp_path: Path) -> None:
    levels(tmp_path / "one")
    write_run(tmp_path / "other/0", protocol={"dataset": "elsewhere"})
    (tmp_path / "README.md").write_text("<!-- results -->\n<!-- /results -->\n")
    report(tmp_path, "runs=[one,other]", "experiment=levels", "baseline=model.pyramid_levels=2", "keep=results")
    kept = read_json(tmp_path / "results/levels.json")
    assert kept["baseline"] == "model.pyramid_levels=2"
    assert "| levels | tiny | model.pyramid_levels=1 |" in (tmp_path / "README.md").read_text()
    write_run(tmp_path / "one/default", cfg=config(experiment_name="default"))
    ended = report(tmp_path, "runs=one", "experiment=levels", "baseline_from=default")
    assert "note: the row model.pyramid_levels=3 comes from experiment=default" in ended.out
    ended = report(tmp_path, "runs=[one,other]", "html=true")
    assert [f'id="columns-{table}"' in (tmp_path / "there/report.html").read_text() for table in range(3)] == [
        True,
        True,
        False,
    ]
    assert "2 tables, because different protocols are not comparable" in ended.out
    pictures = {path.name for path in (tmp_path / "there").glob("*.png")}
    assert {"1_recall.png", "2_recall.png", "1_differences.png"} <= pictures


def test_errors_are_short_messages(tmp_path: Path) -> None:
    levels(tmp_path / "outputs")
    for arguments, complaint in (
        (("runs=nowhere",), "runs=nowhere: no such folder"),
        (("experiment=level",), "found: levels (4 runs)"),
        (("baseline=x",), "baseline='x': no row has this name"),
        (("keep=outputs/0/results.json",), "keep=outputs/0/results.json is a file; it must be a folder"),
        (("baseline_from=x",), "baseline_from=x needs experiment=NAME of another experiment"),
        (("resamples=1",), "resamples must be at least 100; got 1"),
        (("attention=1.5",), "attention must be a number of pairs, or all; got 1.5"),
        (("surprise=1",), "surprise: there is no such key."),
    ):
        ended = report(tmp_path, *arguments, code=1)
        assert complaint in ended.err
        assert "Traceback" not in ended.err
