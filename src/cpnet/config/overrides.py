"""Read and write values in Hydra's command-line syntax."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from contextlib import suppress

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException

_NO_TEXT = re.compile(r"""null|'(\\.|[^'\\])*'|"(\\.|[^"\\])*"|\[.*\]""", re.DOTALL)


def quoted(text: str, quote: Quote = Quote.single) -> str:
    """Quote a string for Hydra's command line, so that it is read as it is, an interpolation too."""
    return QuotedString(re.sub(r"(\\*)\$\{", r"\1\1\\${", text), quote).with_quotes()


def for_shell(key: str, text: str) -> str:
    """Return the argument of a shell command that sets a key to a string."""
    return shlex.quote(f"{key}={quoted(text, Quote.double)}")


def as_text(arguments: Sequence[str], keys: Sequence[str]) -> list[str]:
    """Quote the values of keys that are sentences or paths for Hydra, except null, lists and quoted ones.

    >>> as_text(["query=she waits, then leaves", "top=3"], ["query"])
    ["query='she waits, then leaves'", 'top=3']
    """

    def convert(argument: str) -> str:
        key, _, value = argument.partition("=")
        return f"{key}={quoted(value)}" if key in keys and value and not _NO_TEXT.fullmatch(value) else argument

    return [convert(each) for each in arguments]


def given(arguments: Sequence[str], key: str) -> str:
    """Return the value of a key on the command line as Hydra reads it, or an empty string without one."""
    values = [value for name, _, value in (each.lstrip("+").partition("=") for each in arguments) if name == key]
    value = values[-1] if values else ""
    with suppress(HydraException):  # Hydra reports it later
        parsed = OverridesParser.create().parse_override(f"{key}={value}").value()
        return "" if parsed is None else parsed if isinstance(parsed, str) else value
    return value
