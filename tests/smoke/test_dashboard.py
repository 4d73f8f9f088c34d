"""``python -m cpnet.dashboard`` without network or account."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from commands import call
from tracking.offline import guarded_environment

pytest.importorskip("wandb_workspaces", reason="needs the extra [dashboard]")


def test_dry_run_prints_the_dashboard_and_writes_nothing(tmp_path: Path) -> None:
    folder, home = tmp_path / "folder", tmp_path / "home"
    folder.mkdir()
    with guarded_environment(home) as (environment, requests):
        arguments = ["project=mine", "experiment=table1_ablation", "swept=[seed]", "thresholds=[0.5]", "action=dry_run"]
        ended = call("dashboard", *arguments, folder=folder, environment=environment)
        assert requests == []
    printed = json.loads(ended.out)
    assert [printed[key] for key in ("title", "project", "experiment")] == [
        "cpnet: table1_ablation",
        "mine",
        "table1_ablation",
    ]
    assert "metrics=['test/R1@0.5']" in ended.out
    assert "Config(name='seed')" in ended.out
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["action=show"], "action must be one of save, dry_run; got 'show'"),
        ([], "action=save needs entity=NAME"),
        (["entity=me"], "(?s)No API key.*wandb login.*action=dry_run"),
        (["projcet=p"], r"Did you mean project\?"),
    ],
)
def test_error_names_the_key(arguments: list[str], message: str, tmp_path: Path) -> None:
    with guarded_environment(tmp_path) as (environment, requests):
        ended = call("dashboard", *arguments, folder=tmp_path, code=1, environment=environment)
        assert requests == []
    assert re.search(message, ended.err)
