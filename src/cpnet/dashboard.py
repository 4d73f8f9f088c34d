"""``python -m cpnet.dashboard entity=NAME project=NAME [experiment=NAME] [action=save|dry_run]``: dashboards of W&B.

``save`` makes a saved view and a report of the project's runs; ``dry_run`` prints, as JSON, what would be sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from omegaconf import DictConfig

from cpnet import cli
from cpnet.config import ConfigError

if TYPE_CHECKING:
    from cpnet.tracking.dashboards import Dashboard


def main(cfg: DictConfig) -> None:
    """Do what is asked.

    Raises:
        ConfigError: an unknown action, no entity to save to, or W&B refuses
    """
    actions = {"save": save, "dry_run": dry_run}
    if cfg.action not in actions:
        raise ConfigError(f"action must be one of {', '.join(actions)}; got {cfg.action!r}")
    actions[cfg.action](cfg)


def save(cfg: DictConfig) -> None:
    """Make view and report, and say where they are."""
    from rich.console import Console

    from cpnet.tracking import dashboards

    if not cfg.entity:
        raise ConfigError("whose project? entity=NAME, a user or a team of W&B; action=dry_run needs none")
    for kind, address in dashboards.save(_dashboard(cfg)).items():
        Console().print(f"{kind}: {address}", soft_wrap=True, highlight=False, markup=False)


def dry_run(cfg: DictConfig) -> None:
    """Print what would be sent."""
    import json
    import sys

    from cpnet.tracking import dashboards

    sys.stdout.write(json.dumps(dashboards.specification(_dashboard(cfg)), indent=2, ensure_ascii=False) + "\n")


def _dashboard(cfg: DictConfig) -> Dashboard:
    from cpnet.tracking.dashboards import Dashboard

    return Dashboard(
        entity=cfg.entity or "",
        project=cfg.project,
        experiment=cfg.experiment_name,
        thresholds=list(cfg.thresholds),
        swept=list(cfg.swept),
    )


if __name__ == "__main__":
    cli.run(main, config_name="dashboard", prepare=cli.name_experiment)
