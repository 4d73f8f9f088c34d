"""``python -m cpnet.dashboard entity=NAME project=NAME [experiment=NAME] [action=save|dry_run]``: dashboards of W&B.

``save`` creates a saved view and a report of the project's runs; ``dry_run`` prints their content as JSON.
"""

from __future__ import annotations

import json
import sys

from omegaconf import DictConfig

from cpnet.errors import ConfigError
from cpnet.launch import command


def main(cfg: DictConfig) -> None:
    """Create the view and the report, or print their content.

    Raises:
        ConfigError: the action is unknown, entity is missing, or W&B rejects the dashboard
    """
    if cfg.action not in ("save", "dry_run"):
        raise ConfigError(f"action must be one of save, dry_run; got {cfg.action!r}")
    if cfg.action == "save" and not cfg.entity:
        raise ConfigError("action=save needs entity=NAME, a user or team of W&B; action=dry_run does not")
    from cpnet.tracking import dashboards

    board = dashboards.Dashboard(
        entity=cfg.entity or "",
        project=cfg.project,
        experiment=cfg.experiment_name,
        thresholds=list(cfg.thresholds),
        swept=list(cfg.swept),
    )
    if cfg.action == "dry_run":
        lines = json.dumps(dashboards.describe(board), indent=2, ensure_ascii=False)
    else:
        lines = "\n".join(f"{kind}: {address}" for kind, address in dashboards.save(board).items())
    sys.stdout.write(f"{lines}\n")


if __name__ == "__main__":
    command.run(main, config_name="dashboard", prepare=command.name_experiment)
