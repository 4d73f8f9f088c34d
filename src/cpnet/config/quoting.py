"""Values on Hydra's command line."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException


def quoted(text: str) -> str:
    """Write a text as a value on Hydra's command line."""
    return QuotedString(text, Quote.single).with_quotes()


def given(arguments: Sequence[str], key: str) -> str:
    """Give what the command line sets a key to, without quotes; empty where it does not."""
    values = [value for name, _, value in (argument.partition("=") for argument in arguments) if name == key]
    value = values[-1] if values else ""
    if value[:1] in ("'", '"'):
        with suppress(HydraException):  # Hydra will say what is wrong with it
            return str(OverridesParser.create().parse_override(f"{key}={value}").value())
    return value
