"""Values on Hydra's command line."""

from __future__ import annotations

from hydra.core.override_parser.types import Quote, QuotedString


def quoted(text: str) -> str:
    """Write a text as a value on Hydra's command line."""
    return QuotedString(text, Quote.single).with_quotes()
