"""Hydra composes every job of docs/wandb-sweep.yaml."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from commands import compose
from cpnet.tracking.runs import summary
from tracking.test_runs import RESULTS

FILE = Path(__file__).parents[2] / "docs" / "wandb-sweep.yaml"


@pytest.fixture(scope="module")
def sweep() -> dict[str, Any]:
    content = OmegaConf.to_container(OmegaConf.load(FILE))  # W&B's macros look like interpolations and stay as they are
    assert isinstance(content, dict)
    return {str(key): value for key, value in content.items()}


def extremes(parameter: dict[str, Any]) -> tuple[Any, Any]:
    """First and last of the listed values, or both ends of a range."""
    if "values" in parameter:
        return parameter["values"][0], parameter["values"][-1]
    assert parameter["distribution"] == "log_uniform_values"
    assert all(isinstance(parameter[end], float) for end in ("min", "max"))  # YAML reads 1e-4 as text
    return parameter["min"], parameter["max"]


@pytest.mark.slow
def test_every_job_is_a_command_with_its_values(sweep: dict[str, Any]) -> None:
    names = list(sweep["parameters"])
    *start, end = "${env}", "${interpreter}", "-m", "${program}", "${args_no_hyphens}"
    options = sweep["command"][4:-1]
    assert sweep["command"] == [*start, *options, end]
    assert sweep["program"] == "cpnet.train"
    for each in itertools.product(*map(extremes, sweep["parameters"].values())):
        values = dict(zip(names, each, strict=True))
        cfg = compose(*options, *(f"{key}={value}" for key, value in values.items()))
        assert {name: OmegaConf.select(cfg, name) for name in names} == values
        assert (cfg.logger.wandb.mode, cfg.dataset.name) == ("online", "synthetic")


def test_sweep_maximises_a_key_of_the_summary(sweep: dict[str, Any]) -> None:
    assert sweep["metric"]["name"] in summary(RESULTS)
    assert sweep["metric"]["goal"] == "maximize"
    assert sweep["method"] in ("bayes", "grid", "random")
    assert set(sweep) == {"program", "method", "run_cap", "metric", "parameters", "command"}
