"""``python -m cpnet.dashboard`` as a shell calls it, without network or account."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from commands import call
from tracking.offline import nobodys_home

pytest.importorskip("wandb_workspaces", reason="needs the extra [dashboard]")


def test_a_dry_run_prints_the_specification_and_leaves_nothing(tmp_path: Path) -> None:
    place, home = tmp_path / "place", tmp_path / "home"
    place.mkdir()
    with nobodys_home(home) as (environment, heard):
        arguments = ["project=mine", "experiment=table1_ablation", "swept=[seed]", "thresholds=[0.5]", "action=dry_run"]
        ended = call("dashboard", *arguments, folder=place, environment=environment)
        assert heard == []
    assert ended.code == 0, ended.err
    sent = json.loads(ended.out)
    assert {kind: (each["projectName"], each["displayName"]) for kind, each in sent.items()} == {
        "view": ("mine", "cpnet: table1_ablation"),
        "report": ("mine", "cpnet: table1_ablation"),
    }
    assert '"test/R1@0.5"' in ended.out
    assert '"test/R1@0.3"' not in ended.out
    assert '"config:seed.value"' in ended.out
    assert list(place.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["action=show"], "action must be one of save, dry_run; got 'show'"),
        ([], "whose project? entity=NAME"),
        (["entity=me"], "wandb login"),
        (["projcet=p"], "Did you mean project?"),
    ],
)
def test_a_mistake_is_named(arguments: list[str], message: str, tmp_path: Path) -> None:
    with nobodys_home(tmp_path) as (environment, heard):
        ended = call("dashboard", *arguments, folder=tmp_path, environment=environment)
        assert heard == []
    assert ended.code == 1
    assert message in ended.err
