"""Read and write values in Hydra's command-line syntax."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException


def quoted(text: str) -> str:
    """Quote a string for Hydra's command line."""
    return QuotedString(text, Quote.single).with_quotes()


def given(arguments: Sequence[str], key: str) -> str:
    """Return the unquoted value of a key on the command line, or an empty string."""
    values = [value for name, _, value in (argument.partition("=") for argument in arguments) if name == key]
    value = values[-1] if values else ""
    if value[:1] in ("'", '"'):
        with suppress(HydraException):  # Hydra reports it later
            return str(OverridesParser.create().parse_override(f"{key}={value}").value())
    return value
