"""Oracles: Hydra's own parser of the command line, and texts as a terminal shows them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st

from cpnet.jobs import Job, JobsFailedError, job_names, quoted, reason, summary

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
