"""Types of every key of the configuration, and where ``conf/`` lies; the only part of the package that knows either.

The yaml files of ``conf/`` hold the values. A schema here gives each key its type, so that a wrong key or a wrong type
is refused by name before anything is loaded. Rules across keys live in the object that they protect.
"""

from __future__ import annotations

from pathlib import Path

from hydra.core.config_store import ConfigStore

from cpnet.config import commands, groups
from cpnet.config.errors import ConfigError
from cpnet.config.quoting import given, quoted
from cpnet.config.resolvers import register_resolvers
from cpnet.config.targets import make_later

__all__ = ["CONFIG_DIR", "ConfigError", "given", "make_later", "quoted", "register_schemas"]

_PACKAGE = Path(__file__).resolve().parents[1]
_IN_WHEEL = _PACKAGE / "conf"
CONFIG_DIR = _IN_WHEEL if _IN_WHEEL.is_dir() else _PACKAGE.parents[1] / "conf"


def register_schemas() -> None:
    """Store every schema where the yaml files of its group find it as ``base_...``."""
    register_resolvers()
    store = ConfigStore.instance()
    store.store(name="base_train", node=commands.TrainConfig)
    store.store(name="base_dashboard", node=commands.DashboardConfig)
    store.store(name="base_evaluate", node=commands.EvaluateConfig)
    store.store(name="base_prepare", node=commands.PrepareConfig)
    store.store(name="base_report", node=commands.ReportConfig)
    for group, name, node in (
        ("dataset", "base_dataset", groups.DatasetConfig),
        ("model", "base_cpnet", groups.CPNetConfig),
        ("loss", "base_loss", groups.LossConfig),
        ("optimizer", "base_optimizer", groups.OptimizerConfig),
        ("optimizer", "base_adam", groups.AdamConfig),
        ("scheduler", "base_scheduler", groups.SchedulerConfig),
        ("sampling", "base_sampling", groups.SamplingConfig),
        ("trainer", "base_trainer", groups.TrainerConfig),
    ):
        store.store(group=group, name=name, node=node)
