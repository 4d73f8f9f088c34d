"""Checks of options."""

from __future__ import annotations

from typing import Any

MISSING: Any = "???"  # OmegaConf: the configuration must set it


def check_choice(key: str, value: object, choices: tuple[str, ...]) -> None:
    """Raise a ``ValueError`` that names the key unless the value is one of its choices."""
    if value not in choices:
        raise ValueError(f"{key} must be one of {', '.join(choices)}; got {value!r}")
