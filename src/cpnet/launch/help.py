"""The text of ``--help``. Hydra's own help takes seconds to list the groups."""

from __future__ import annotations

import itertools
import re
import textwrap

from omegaconf import DictConfig, OmegaConf

from cpnet.config import CONFIG_DIR


def help_text(config_name: str) -> str:
    """Return usage, groups with their choices, and root keys of a command, read from ``conf/<config_name>.yaml``."""
    path = CONFIG_DIR / f"{config_name}.yaml"
    lines = path.read_text(encoding="utf-8").splitlines()
    usage = [line.removeprefix("# ") for line in itertools.takewhile(lambda line: line.startswith("#"), lines)]
    keys = [line for line in lines if re.match(r"\w+: [^$]", line)]  # keys with a value, not an interpolation
    defaults = [each for each in OmegaConf.load(path).defaults if isinstance(each, DictConfig)]
    groups = [str(key) for each in defaults for key in each if not str(key).startswith("override ")]
    groups += ["hydra/launcher", "hydra/sweeper"] if "experiment" in groups else []
    choices = []
    for group in groups:
        names = " | ".join(sorted(file.stem for file in (CONFIG_DIR / group).glob("*.yaml")))
        choices.append(textwrap.fill(f"{group}={names}", 100, initial_indent="  ", subsequent_indent="      "))
    return "\n".join(
        [
            *usage,
            *(["", "Groups:", *choices] if choices else []),
            *(["", "Keys:", *(f"  {key}" for key in keys)] if keys else []),
            *("", "Every key and its value: --cfg job. Hydra's own flags: --hydra-help", ""),
        ]
    )
