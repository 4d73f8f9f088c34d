"""Checks of options."""

from __future__ import annotations

import math
from typing import Any

MISSING: Any = "???"  # OmegaConf: the configuration must set it


def check_choice(key: str, value: object, choices: tuple[str, ...]) -> None:
    """Raise a ``ValueError`` that names the key unless the value is one of its choices."""
    if value not in choices:
        raise ValueError(f"{key} must be one of {', '.join(choices)}; got {value!r}")


def check_weight(key: str, value: float) -> None:
    """Raise a ``ValueError`` that names the key unless the value is finite and 0 or more."""
    if not 0 <= value < math.inf:
        raise ValueError(f"{key} must be finite and 0 or more; got {value}")


def check_positive(key: str, value: int) -> None:
    """Raise a ``ValueError`` that names the key unless the value is 1 or more."""
    if value < 1:
        raise ValueError(f"{key} must be 1 or more; got {value}")


def check_share(key: str, value: float) -> None:
    """Raise a ``ValueError`` that names the key unless the value is from 0 to 1."""
    if not 0 <= value <= 1:
        raise ValueError(f"{key} must be 0 to 1; got {value}")


def check_odd(key: str, value: int) -> None:
    """Raise a ``ValueError`` that names the key unless the value is odd and positive."""
    if value < 1 or value % 2 == 0:
        raise ValueError(f"{key} must be odd and positive; got {value}")
