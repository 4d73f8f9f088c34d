"""Oracles: Hydra's own parser of the command line, and texts as a terminal shows them."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf

import cpnet
from cpnet.config import ConfigError, quoted
from cpnet.jobs import (
    FinishedRuns,
    Job,
    JobsFailedError,
    computation,
    job_names,
    note_computation,
    note_jobs,
    reason,
    summary,
)

WRITABLE = st.text(st.characters(exclude_categories=("Cs", "Cc")))


@pytest.fixture
def job(tmp_path: Path) -> Job:
    folder = tmp_path / "3"
    (folder / ".hydra").mkdir(parents=True)
    return Job(3, ["dataset=tacos", "seed=1", "sweep.resume=true"], "seed=1", folder)


def write_overrides(job: Job, *overrides: str) -> None:
    lines = "\n".join(f"- {json.dumps(each)}" for each in overrides)
    (job.folder / ".hydra" / "overrides.yaml").write_text(lines, encoding="utf-8")


@given(WRITABLE)
def test_hydra_reads_what_was_quoted(text: str) -> None:
    override = OverridesParser.create().parse_override(f"run_name={quoted(text)}")
    value = override.value()
    assert str(value) == text  # an empty one is an empty string, any other a quoted one


@pytest.mark.parametrize(
    ("overrides", "names"),
    [
        ([["a=1", "b=2"], ["a=1", "b=3"]], ["b=2", "b=3"]),
        ([["a=1", "b=2"], ["b=2", "a=2"], ["a=1", "b=2", "c=3"]], ["a=1", "a=2", "a=1 c=3"]),
        ([["a=1", "b=2"]], ["a=1 b=2"]),
        ([["a=1", "sweep.resume=true", "run_name=x"]], ["a=1"]),
        ([["a=1"], ["a=1"]], ["", ""]),
        ([], []),
    ],
)
def test_a_job_is_named_by_what_sets_it_apart(overrides: list[list[str]], names: list[str]) -> None:
    assert job_names(overrides) == names


def test_a_folder_is_known_by_its_overrides_in_any_order(job: Job) -> None:
    write_overrides(job, "seed=1", "dataset=tacos", "run_name='seed=1'")
    assert job.is_that_of_the_folder()
    write_overrides(job, "seed=1", "dataset=tacos", "run_name='seed=1'", "resume=true")  # as it went on once
    assert job.is_that_of_the_folder()
    write_overrides(job, "seed=2", "dataset=tacos")
    assert not job.is_that_of_the_folder()
    write_overrides(job, "dataset=tacos")
    assert not job.is_that_of_the_folder()


def test_an_empty_folder_is_no_jobs(job: Job) -> None:
    assert not job.is_that_of_the_folder()
    assert job.score() is None


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"validation": {}}', '{"validation": {"score": null}}'])
def test_damaged_results_are_none(job: Job, content: str) -> None:
    (job.folder / "results.json").write_text(content, encoding="utf-8")
    assert job.score() is None


def test_the_score_is_that_of_the_results(job: Job) -> None:
    (job.folder / "results.json").write_text('{"validation": {"score": 41.5}}', encoding="utf-8")
    assert job.score() == 41.5


@pytest.mark.parametrize(
    ("complaints", "said"),
    [
        (
            "warning\ncpnet: epochs must be 1 or more; got 0\n",
            "epochs must be 1 or more; got 0",
        ),
        ("cpnet: no room\nwandb: View this run in the terminal with `wandb leet`\n", "no room"),
        ("Traceback:\n  line\nRuntimeError: no memory\n\n", "RuntimeError: no memory"),
        ("Epoch 0: 1%\rEpoch 0: 2%\rKilled", "Killed"),
        (" \n", ""),
        ("", ""),
    ],
)
def test_the_reason_is_what_was_said_last(complaints: str, said: str) -> None:
    assert reason(complaints) == said


def test_the_summary_names_every_failed_job(tmp_path: Path) -> None:
    jobs = [Job(number, [], f"seed={number}", tmp_path / str(number), failure="Killed") for number in (4, 7)]
    text = str(JobsFailedError(summary(jobs)))
    for part in ("2 of the sweep's jobs", "#4 seed=4: Killed", "#7 seed=7", str(tmp_path / "7"), "sweep.resume=true"):
        assert part in text


def composed(levels: int, **changes: Any) -> DictConfig:
    cfg = {"model": {"pyramid_levels": levels}, "data": "data", "dataset": {"path": "${data}/a"}, "run_name": "a"}
    return OmegaConf.create({**cfg, "sweep": {"reuse": None}, **changes})


def write_finished(folder: Path, *, levels: int, commit: str | None) -> Path:
    (folder / ".hydra").mkdir(parents=True)
    note_computation(computation(composed(levels)), folder)
    OmegaConf.save(OmegaConf.create(["model.pyramid_levels=3"]), folder / ".hydra" / "overrides.yaml")
    results = {"experiment": "first", "git_commit": commit, "versions": {"cpnet-grounding": cpnet.__version__}}
    (folder / "results.json").write_text(json.dumps(results | {"validation": {"score": 1.0}}), encoding="utf-8")
    (folder / "train.log").write_text("first\n", encoding="utf-8")
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints/best.ckpt").write_bytes(b"weights")
    (folder / "wandb").mkdir()
    (folder / ".lock").touch()
    return folder


@pytest.fixture
def commit(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr("cpnet.jobs.git_commit", lambda folder: "abc")
    return "abc"


def test_a_job_takes_the_files_of_the_run_that_it_would_be(tmp_path: Path, commit: str) -> None:
    run = write_finished(tmp_path / "old/first/0", levels=3, commit=commit)
    write_finished(tmp_path / "old/first/1", levels=2, commit=commit)
    finished = FinishedRuns(tmp_path / "old")
    job = Job(0, ["model.pyramid_levels=3", "extra=1"], "b", tmp_path / "new" / "0")
    job.folder.parent.mkdir()
    config = composed(3, run_name="b", hydra={}, sweep={"reuse": "old"})
    assert finished.serve(job, config, "second") == run
    assert job.score() == 1.0
    assert job.is_that_of_the_folder()
    taken = json.loads((job.folder / "results.json").read_bytes())
    assert (taken["experiment"], taken["run_of"]) == ("second", str(run))
    assert json.loads((run / "results.json").read_bytes())["experiment"] == "first"
    assert {path.name for path in job.folder.parent.iterdir()} == {"0"}
    assert not (job.folder / "wandb").exists()
    assert not (job.folder / ".lock").exists()
    assert finished.serve(Job(1, [], "c", tmp_path / "new" / "1"), composed(4), "second") is None


def test_what_a_job_appends_to_is_its_own(tmp_path: Path, commit: str) -> None:
    run = write_finished(tmp_path / "old/0", levels=3, commit=commit)
    job = Job(0, [], "b", tmp_path / "0")
    FinishedRuns(tmp_path / "old").serve(job, composed(3), None)
    for path in sorted(path for path in job.folder.rglob("*") if path.is_file()):
        theirs = run / path.relative_to(job.folder)
        assert path.samefile(theirs) == (path.suffix == ".ckpt"), path.name


def test_another_file_system_is_copied_from(tmp_path: Path, commit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(source: str, target: str) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr("cpnet.jobs.os.link", refuse)
    write_finished(tmp_path / "old/0", levels=3, commit=commit)
    job = Job(0, [], "b", tmp_path / "0")
    assert FinishedRuns(tmp_path / "old").serve(job, composed(3), None)
    assert (job.folder / "checkpoints/best.ckpt").read_bytes() == b"weights"


def test_a_job_that_was_begun_goes_on_by_itself(tmp_path: Path, commit: str) -> None:
    write_finished(tmp_path / "old/0", levels=3, commit=commit)
    job = Job(0, [], "b", tmp_path / "0")
    job.folder.mkdir()
    assert FinishedRuns(tmp_path / "old").serve(job, composed(3), None) is None


def test_runs_on_other_data_are_not_taken(tmp_path: Path, commit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write_finished(tmp_path / "old/0", levels=3, commit=commit)
    finished = FinishedRuns(tmp_path / "old")
    job = Job(0, [], "b", tmp_path / "0")
    assert finished.serve(job, composed(3, dataset={"path": "${data}/b"}), None) is None
    monkeypatch.chdir(tmp_path)
    assert finished.serve(job, composed(3), None) is None


@pytest.mark.parametrize("of", ["other", None, "abc+changes"])
def test_runs_of_other_code_are_not_taken(tmp_path: Path, of: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cpnet.jobs.git_commit", lambda folder: "abc" if of == "other" else of)
    write_finished(tmp_path / "old/0", levels=3, commit=of)
    assert FinishedRuns(tmp_path / "old").folders == {}


def test_a_damaged_list_of_jobs_is_written_anew(tmp_path: Path) -> None:
    (tmp_path / "jobs.json").write_text("")
    note_jobs(tmp_path, [Job(3, [], "seed=1", tmp_path / "3")], "levels")
    note_jobs(tmp_path, [Job(4, [], "seed=2", tmp_path / "4")], "levels")
    noted = json.loads((tmp_path / "jobs.json").read_text())
    assert noted == {"experiment": "levels", "jobs": {"3": "seed=1", "4": "seed=2"}}


def test_earlier_runs_must_be_somewhere(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"sweep\.reuse=.*nowhere: there is no such folder"):
        FinishedRuns(tmp_path / "nowhere")
