"""Errors that a user can cause. Each message says what is wrong, where, and what to do next."""

from __future__ import annotations

from collections.abc import Iterable


class ConfigError(ValueError):
    """A configuration value cannot work. The message names the key, the value and the allowed values."""


class DataError(ValueError):
    """A user's file is missing or malformed. The message names the file, the place and the fix."""


def cut(text: str, most: int = 200) -> str:
    """Cut the middle out of a text that a message quotes; a damaged file can be one line of millions of characters.

    >>> cut("0123456789" * 3, most=12)
    '012345678 ... 789'
    """
    return text if len(text) <= most else f"{text[: most - most // 4]} ... {text[-(most // 4) :]}"


def reason(error: BaseException) -> str:
    """Return why an error occurred, as one line for a message: its text, cut, or its type if it has none."""
    return cut(" ".join(str(error).split())) or type(error).__name__


def shown(value: object, most: int = 200) -> str:
    """Return the repr of a value of a file, cut for a message."""
    return cut(repr(value), most)


def quote(names: Iterable[str], most: int = 10) -> str:
    """Join the first names of a list for a message.

    >>> quote(["rgb", "flow", "audio"], most=2)
    "'rgb', 'flow', ..."
    """
    names = list(names)
    return ", ".join(shown(name, 60) for name in names[:most]) + (", ..." if len(names) > most else "")
