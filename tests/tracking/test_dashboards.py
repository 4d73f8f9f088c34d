"""Dashboards as objects of wandb_workspaces, against the keys that runs log; no network."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from cpnet.errors import ConfigError
from cpnet.tracking.dashboards import Dashboard, describe, report, view

pytest.importorskip("wandb_workspaces", reason="needs the extra [dashboard]")

BOARD = Dashboard(
    entity="team", project="p", experiment="table1", thresholds=(0.3, 0.5, 0.7), swept=("seed", "model.pyramid_levels")
)
SECTIONS = ["Metrics by epoch", "R@1 against the threshold", "Ablation", "Sweep", "Predictions"]
BY_EPOCH = {
    *("val/mIoU", "val/R1@0.3", "val/R1@0.5", "val/R1@0.7", "train/attention", "val/attention"),
    *("train/regression", "val/regression", "train/learning_rate", "train/gradient_norm"),
}


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any, **named: Any) -> None:
        raise AssertionError(f"connection or process: {arguments}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(subprocess, "Popen", refuse)


def of_view(board: Dashboard) -> dict[str, list[Any]]:
    return {section.name: section.panels for section in view(board).sections}


def of_report(board: Dashboard) -> dict[str, list[Any]]:
    blocks = report(board).blocks
    return {heading.text: grid.panels for heading, grid in zip(blocks[::2], blocks[1::2], strict=True)}


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("panels_of", [of_view, of_report])
def test_panels_show_the_logged_keys(panels_of: Callable[[Dashboard], dict[str, list[Any]]]) -> None:
    panels = panels_of(BOARD)
    assert list(panels) == list(describe(BOARD)["sections"]) == SECTIONS
    curves, (recalls,), (by_run, by_model), (sweep,), (table, pictures) = panels.values()
    assert {key for line in curves for key in line.y} == BY_EPOCH
    assert {line.x for line in curves} == {"epoch"}
    assert recalls.metrics == ["test/R1@0.3", "test/R1@0.5", "test/R1@0.7"]
    assert by_run.metrics == by_model.metrics == ["test/mIoU"]
    assert (by_run.groupby, by_model.groupby.name) == ("Name", "model_name")
    assert [column.metric.name for column in sweep.columns] == ["seed", "model.pyramid_levels", "validation/score"]
    assert (table.table_name, pictures.media_keys) == ("predictions", ["length_confusion"])


@pytest.mark.parametrize(
    ("experiment", "title", "filters"),
    [("table1", "cpnet: table1", "Metric(\"Group\") == 'table1'"), (None, "cpnet", "")],
)
@pytest.mark.usefixtures("no_network")
def test_experiment_filters_the_runs(experiment: str | None, title: str, filters: str) -> None:
    board = replace(BOARD, experiment=experiment)
    runsets = [view(board).runset_settings, *(grid.runsets[0] for grid in report(board).blocks[1::2])]
    assert [runset.filters for runset in runsets] == [filters] * (1 + len(SECTIONS))
    assert [view(board).name, report(board).title, describe(board)["title"]] == [title] * 3


@pytest.mark.usefixtures("no_network")
def test_error_names_the_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb_workspaces.reports.v2", None)
    with pytest.raises(ConfigError, match=r"pip install 'cpnet-grounding\[dashboard\]'"):
        describe(BOARD)


@pytest.mark.usefixtures("no_network")
def test_rejected_value_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match=r"W&B rejects the dashboard"):
        describe(replace(BOARD, experiment="\N{ROCKET}"))
