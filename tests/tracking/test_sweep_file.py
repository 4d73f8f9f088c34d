"""docs/wandb-sweep.yaml, expanded by W&B's own agent code and composed by our Hydra."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import hydra
import pytest
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from cpnet.config import CONFIG_DIR, register_schemas
from cpnet.tracking.runs import flatten

pytest.importorskip("wandb", reason="needs the extra [wandb]")

FILE = Path(__file__).parents[2] / "docs" / "wandb-sweep.yaml"


@pytest.fixture(scope="module")
def sweep() -> dict[str, Any]:
    from wandb.sdk.launch.sweeps.utils import load_sweep_config

    content = load_sweep_config(str(FILE))
    assert content is not None
    return content


def drawn(parameter: dict[str, Any]) -> list[Any]:
    """Values that W&B may draw: those listed, or both ends of a range."""
    if "values" in parameter:
        return list(parameter["values"])
    assert parameter["distribution"] == "log_uniform_values"
    assert all(isinstance(parameter[end], float) for end in ("min", "max"))  # 1e-4 would be text in yaml
    return [parameter["min"], parameter["max"]]


def expand(sweep: dict[str, Any], values: dict[str, Any]) -> list[str]:
    """Give the command line of a job, with the parts that W&B's agent replaces."""
    from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

    parts = create_sweep_command_args({"args": {key: {"value": value} for key, value in values.items()}})
    parts |= {"env": ["/usr/bin/env"], "interpreter": ["python"], "program": [sweep["program"]]}
    command: list[str] = []
    for chunk in create_sweep_command(list(sweep["command"])):
        command += parts[chunk[2:-1]] if chunk.startswith("${") else [chunk]
    return command


def test_every_job_is_a_command_that_sets_what_was_drawn(sweep: dict[str, Any]) -> None:
    names, choices = zip(*((name, drawn(parameter)) for name, parameter in sweep["parameters"].items()), strict=True)
    GlobalHydra.instance().clear()
    register_schemas()
    with hydra.initialize_config_dir(version_base="1.3", config_dir=str(CONFIG_DIR)):
        ends = [
            dict(zip(names, values, strict=True))
            for values in itertools.product(*(each[:: len(each) - 1] for each in choices))
        ]
        assert len(ends) == 8
        for values in ends:
            python, overrides = (command := expand(sweep, values))[:4], command[4:]
            assert python == ["/usr/bin/env", "python", "-m", "cpnet.train"]
            cfg = hydra.compose("train", overrides=overrides)
            assert {name: OmegaConf.select(cfg, name) for name in names} == values
            assert (cfg.logger.wandb.mode, cfg.dataset.name) == ("online", "synthetic")


def test_it_looks_for_the_most_of_what_a_run_tells_at_its_end(sweep: dict[str, Any]) -> None:
    told = flatten({"validation": {"monitor": "val/mIoU", "score": 50.0}, "protocol": {"split": "test"}})
    assert sweep["metric"]["name"] in told
    assert sweep["metric"]["goal"] == "maximize"
    assert sweep["method"] in ("bayes", "grid", "random")
    assert set(sweep) == {"program", "method", "run_cap", "metric", "parameters", "command"}
