"""What would be sent to Weights & Biases, against what its own package sends and what runs log; no network."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cpnet.config import ConfigError
from cpnet.tracking.dashboards import Dashboard, save, specification

pytest.importorskip("wandb_workspaces", reason="needs the extra [dashboard]")

BOARD = Dashboard(
    entity="team", project="p", experiment="table1", thresholds=(0.3, 0.5, 0.7), swept=("seed", "model.pyramid_levels")
)
SECTIONS = ["Metrics by epoch", "R@1 against the threshold", "Ablation", "Sweep", "Predictions"]
# As cpnet.module logs them, by epoch; of the chosen checkpoint; and what cpnet.tracking adds.
BY_EPOCH = {
    *("val/mIoU", "val/R1@0.3", "val/R1@0.5", "val/R1@0.7", "train/attention", "val/attention"),
    *("train/regression", "val/regression", "train/learning_rate", "train/gradient_norm"),
}
AT_THE_END = {"test/mIoU", "test/R1@0.3", "test/R1@0.5", "test/R1@0.7"}


@pytest.fixture
def no_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any, **named: Any) -> None:
        raise AssertionError(f"no connection and no process: {arguments}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(subprocess, "Popen", refuse)


def panels(sections: list[Any]) -> Iterator[Mapping[str, Any]]:
    for section in sections:
        yield from section["panels"]


def of_view(sent: Mapping[str, Any]) -> list[Any]:
    sections: list[Any] = sent["view"]["spec"]["section"]["panelBankConfig"]["sections"]
    return sections


def of_report(sent: Mapping[str, Any]) -> list[Any]:
    blocks = sent["report"]["spec"]["blocks"]
    return [block["metadata"]["panelBankSectionConfig"] for block in blocks if block["type"] == "panel-grid"]


def without_ids(node: Any) -> Any:
    """Identities are drawn anew each time."""
    if isinstance(node, Mapping):
        return {key: without_ids(value) for key, value in node.items() if key not in ("__id__", "id")}
    return [without_ids(each) for each in node] if isinstance(node, list) else node


@pytest.mark.usefixtures("no_way_out")
def test_view_and_report_show_the_same_panels_in_the_same_order() -> None:
    sent = specification(BOARD)
    assert [section["name"] for section in of_view(sent)] == SECTIONS
    headings = [block for block in sent["report"]["spec"]["blocks"] if block["type"] == "heading"]
    assert [block["children"][0]["text"] for block in headings] == SECTIONS
    shown, told = ([(p["viewType"], p["config"]) for p in panels(of(sent))] for of in (of_view, of_report))
    assert len(shown) == 12
    assert shown == told


@pytest.mark.usefixtures("no_way_out")
def test_the_panels_show_what_runs_log() -> None:
    kinds: dict[str, list[Mapping[str, Any]]] = {}
    for panel in panels(of_view(specification(BOARD))):
        kinds.setdefault(panel["viewType"], []).append(panel["config"])
    lines, bars = kinds["Run History Line Plot"], kinds["Bar Chart"]
    assert {metric for line in lines for metric in line["metrics"]} == BY_EPOCH
    assert {line["xAxis"] for line in lines} == {"epoch"}
    assert {metric for bar in bars for metric in bar["metrics"]} == AT_THE_END
    assert [bar.get("groupBy") for bar in bars] == [None, "displayName", "model_name.value"]
    (parallel,) = kinds["Parallel Coordinates Plot"]
    axes = [column["accessor"] for column in parallel["columns"]]
    assert axes == ["config:seed.value", "config:model.value.pyramid_levels", "summary:validation/score"]
    (table,), (media,) = kinds["Weave"], kinds["Media Browser"]
    assert table["panel2Config"]["exp"]["fromOp"]["inputs"]["key"]["val"] == "predictions"
    assert media["mediaKeys"] == ["length_confusion"]


def filters(sent: Mapping[str, Any]) -> list[Any]:
    grids = [block for block in sent["report"]["spec"]["blocks"] if block["type"] == "panel-grid"]
    runsets = [*sent["view"]["spec"]["section"]["runSets"], *(grid["metadata"]["runSets"][0] for grid in grids)]
    assert len(runsets) == 1 + len(SECTIONS)
    return [
        [(key["key"]["name"], key["op"], key["value"]) for key in runset["filters"]["filters"]] for runset in runsets
    ]


@pytest.mark.usefixtures("no_way_out")
def test_an_experiment_is_shown_alone() -> None:
    assert all(each == [("group", "=", "table1")] for each in filters(specification(BOARD)))
    everything = replace(BOARD, experiment=None)
    assert all(each == [] for each in filters(specification(everything)))
    assert (specification(BOARD)["view"]["displayName"], specification(everything)["view"]["displayName"]) == (
        "cpnet: table1",
        "cpnet",
    )


class Service:
    """Stands for the service, and keeps what it is sent."""

    default_entity = "team"

    def __init__(self) -> None:
        self.received: list[dict[str, Any]] = []
        self._service_api = SimpleNamespace(app_url="https://wandb.example", execute_graphql=self.execute_graphql)

    def __call__(self) -> Service:
        return self

    def execute_graphql(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        assert "upsertView" in query
        self.received.append(variables)
        view = {
            "id": "1",
            "name": variables["name"],
            "displayName": variables["displayName"],
            "spec": variables["spec"],
        }
        project = {"id": "2", "name": variables["projectName"], "entityName": variables["entityName"]}
        return {
            "upsertView": {"view": {**view, "description": "", "project": project, "type": "runs"}, "inserted": True}
        }

    def projects(self, entity: str) -> list[Any]:
        return [SimpleNamespace(name="p")]


@pytest.mark.usefixtures("no_way_out")
def test_what_is_printed_is_what_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    service = Service()
    monkeypatch.setattr("wandb.Api", service)
    addresses = save(BOARD)
    assert all(address.startswith("https://wandb.example/team/p") for address in addresses.values())
    assert [sent["type"] for sent in service.received] == ["project-view", "runs"]
    printed = specification(BOARD)
    for sent, kind in zip(service.received, ("view", "report"), strict=True):
        assert without_ids(json.loads(sent["spec"])) == without_ids(printed[kind]["spec"])
        assert {key: sent[key] for key in printed[kind] if key != "spec"} == {
            key: value for key, value in printed[kind].items() if key != "spec"
        }


@pytest.mark.usefixtures("no_way_out")
def test_the_package_reads_back_the_view_that_it_would_send() -> None:
    from wandb_workspaces.workspaces import Workspace, internal

    sent = specification(BOARD)["view"]
    spec = internal.WorkspaceViewspec.model_validate_json(json.dumps(sent["spec"]))
    view = internal.View(entity="team", project="p", display_name="n", name="n", id="", spec=spec)
    read = Workspace._from_model(view)
    assert [(section.name, len(section.panels)) for section in read.sections] == list(
        zip(SECTIONS, (6, 1, 2, 1, 2), strict=True)
    )


def test_without_the_package_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb_workspaces.reports.v2", None)
    with pytest.raises(ConfigError, match=r"pip install 'cpnet-grounding\[dashboard\]'"):
        specification(BOARD)


def test_without_an_account_the_remedy_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    with pytest.raises(ConfigError, match=r"(?s)No API key.*wandb login.*action=dry_run"):
        save(BOARD)


@pytest.mark.usefixtures("no_way_out")
def test_what_wandb_refuses_is_an_error_of_the_configuration() -> None:
    with pytest.raises(ConfigError, match=r"W&B refuses the dashboard"):
        specification(replace(BOARD, experiment="\N{ROCKET}"))
