"""Text of other people's files on a terminal."""

from __future__ import annotations

import logging
import re

# What a terminal obeys, but for line ends and tabs, and what turns the direction of text
_OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def printable(text: str) -> str:
    r"""Show characters that a terminal obeys as escapes: one could rename its window or fill its clipboard.

    >>> printable("a\x1b[31mb")
    'a\\x1b[31mb'
    """
    return _OBEYED.sub(lambda found: ascii(found[0])[1:-1], text)


class PrintableRecord(logging.LogRecord):
    """A line of a log, whose names and values may be other people's."""

    def getMessage(self) -> str:  # noqa: N802  # the standard library's name
        """Give the line as it is shown."""
        return printable(super().getMessage())
