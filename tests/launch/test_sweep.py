"""Oracles: Hydra's own parser of the command line, and texts as a terminal shows them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from cpnet.config import quoted
from cpnet.launch.sweep import Job, command_line, job_names, summary, write_jobs

WRITABLE = st.text(st.characters(exclude_categories=("Cs", "Cc")))


@pytest.fixture
def job(tmp_path: Path) -> Job:
    folder = tmp_path / "3"
    (folder / ".hydra").mkdir(parents=True)
    return Job(3, ["dataset=tacos", "seed=1", "sweep.resume=true"], "seed=1", folder)


@given(WRITABLE)
def test_hydra_parses_quoted_text(text: str) -> None:
    override = OverridesParser.create().parse_override(f"run_name={quoted(text)}")
    assert str(override.value()) == text


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
def test_job_is_named_by_differing_overrides(overrides: list[list[str]], names: list[str]) -> None:
    assert job_names(overrides) == names


def test_command_line_has_the_configuration_of_its_parent() -> None:
    source = {"provider": "command-line", "path": "/my"}
    node: dict[str, Any] = {
        "job": {"config_name": "mine"},
        "runtime": {"config_sources": [source]},
        "overrides": {"hydra": ["hydra.verbose=true", "hydra.mode=MULTIRUN"]},
    }
    line = command_line(OmegaConf.create(node), "train", ["seed=1"], Path("/a"))  # type: ignore[arg-type]
    given = ["--config-dir", "/my", "--config-name", "mine", "seed=1"]
    assert line[3:] == [*given, "hydra.mode=RUN", "hydra.run.dir='/a'", "hydra.verbose=true"]
    node["job"]["config_name"] = "train"
    assert "--config-name" not in command_line(OmegaConf.create(node), "train", [], Path("/a"))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("found", "owns"),
    [
        (["seed=1", "dataset=tacos", "run_name='seed=1'"], True),
        (["seed=1", "dataset=tacos", "run_name='seed=1'", "resume=true"], True),  # resumed once
        (["seed=2", "dataset=tacos"], False),
        (["dataset=tacos"], False),
        (None, False),
        ("- seed=1\n- 'dataset=ta", False),  # cut by a crash
    ],
)
def test_job_owns_a_folder_with_the_same_overrides(found: list[str] | str | None, owns: bool, job: Job) -> None:
    if isinstance(found, str):
        (job.folder / ".hydra" / "overrides.yaml").write_text(found, encoding="utf-8")
    elif found is not None:
        text = "\n".join(f"- {json.dumps(each)}" for each in found)
        (job.folder / ".hydra" / "overrides.yaml").write_text(text, encoding="utf-8")
    assert job.owns_folder() == owns


@pytest.mark.parametrize(
    ("content", "score"),
    [
        ('{"validation": {"score": 41.5}}', 41.5),
        *((damaged, None) for damaged in ("", "{", "[]", "{}", '{"validation": {}}')),
        ('{"validation": {"score": null}}', None),
        (None, None),
    ],
)
def test_score_is_read_from_results(content: str | None, score: float | None, job: Job) -> None:
    if content is not None:
        (job.folder / "results.json").write_text(content, encoding="utf-8")
    assert job.score() == score


def test_summary_names_every_failed_job(tmp_path: Path) -> None:
    jobs = [Job(number, [], f"seed={number}", tmp_path / str(number), failure="Killed") for number in (4, 7)]
    text = summary(jobs)
    for part in ("2 of the sweep's jobs", "#4 seed=4: Killed", "#7 seed=7", str(tmp_path / "7"), "sweep.resume=true"):
        assert part in text


def test_damaged_jobs_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "jobs.json").write_text("")
    write_jobs(tmp_path, [Job(3, [], "seed=1", tmp_path / "3")], "levels")
    write_jobs(tmp_path, [Job(4, [], "seed=2", tmp_path / "4")], "levels")
    written = json.loads((tmp_path / "jobs.json").read_text())
    assert written == {"experiment": "levels", "jobs": {"3": "seed=1", "4": "seed=2"}}
