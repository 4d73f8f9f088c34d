"""Refuse links that would redirect writes out of an untrusted folder."""

from __future__ import annotations

import os
from pathlib import Path

from cpnet.errors import ConfigError

# Files that a run or sweep changes in place. All others are replaced by new files, even if they are links.
WRITTEN = (".lock", "*.log", ".hydra", "wandb", "tensorboard", "multirun.yaml", "*.journal", "best.json", "test_*")
SEARCHED = ("*", ".hydra/*", "[0-9]*/*", "[0-9]*/.hydra/*")  # the folder, and the jobs of a sweep


def check_links(folder: Path) -> None:
    """Check that no link redirects writes out of the folder of a run or sweep.

    Raises:
        ConfigError: a link points outside of the folder
    """
    inside = os.path.realpath(folder)
    for path in (path for pattern in SEARCHED for path in folder.glob(pattern) if path.is_symlink()):
        written = path.parent.name == ".hydra" or path.name.isdigit() or any(map(path.match, WRITTEN))
        target = os.path.realpath(path)
        if written and os.path.commonpath([inside, target]) != inside:
            raise ConfigError(
                f"{path} is a link to {target}, outside of the folder, and the run would write there; "
                "replace it by a copy, or remove it"
            )
