"""Checks of annotation files and their values, shared by all readers.

Every function raises ``DataError`` if the file or value does not match its docstring. The message begins with
``where`` (the file, and the line or video in it) and ends with an instruction.
"""

from __future__ import annotations

import codecs
import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from cpnet.errors import DataError

_LINE = re.compile("^.*$", re.MULTILINE)


def read_text(path: Path | str) -> str:
    r"""Return the text of a UTF-8 file that is not blank, without byte-order mark, each line ended by ``\n``."""
    try:
        raw = Path(path).expanduser().read_bytes().removeprefix(codecs.BOM_UTF8)
    except (OSError, ValueError, RuntimeError) as error:
        # ValueError: the path contains a null character. RuntimeError: the home folder of an unknown user.
        reason = error.strerror if isinstance(error, OSError) else error
        raise DataError(f"{path}: cannot be read ({reason}); check the path in the dataset's config") from error
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        before = raw[: error.start].replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        line, byte = before.count(b"\n") + 1, len(before) - before.rfind(b"\n")
        raise DataError(f"{path}: line {line}: byte {byte} is not UTF-8; save the file as UTF-8") from error
    if not text.strip():
        raise DataError(f"{path}: the file is empty; download or copy it again")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_lines(path: Path | str) -> Iterator[tuple[int, str]]:
    """Yield the number, counted from 1, and the text of each line that is not blank."""
    # str.splitlines would also split at characters inside a sentence, such as U+2028. A list of all lines would double
    # the memory.
    for number, match in enumerate(_LINE.finditer(read_text(path)), start=1):
        if match[0].strip():
            yield number, match[0]


def parse_object(text: str, where: str) -> dict[str, object]:
    """Parse a JSON object in which no key is repeated."""
    try:
        value: object = json.loads(text, object_pairs_hook=_unique_keys)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: not valid JSON ({error}); correct the file or download it again") from error
    return as_object(value, where)


def _unique_keys(pairs: list[tuple[str, object]]) -> dict[str, object]:
    entry = dict(pairs)
    if len(entry) < len(pairs):
        repeated = Counter(key for key, _ in pairs).most_common(1)[0][0]
        values = " and ".join([_shown(value) for key, value in pairs if key == repeated][:2])
        raise ValueError(f"the key {_shown(repeated)} appears twice in one object, with {values}")
    return entry


def as_object(value: object, where: str) -> dict[str, object]:
    """Check that a value is a JSON object, and return it."""
    if not isinstance(value, dict):
        raise DataError(
            f"{where}: expected a JSON object, found {_shown(value)}; is this the right reader for the file?"
        )
    return value


def member(entry: dict[str, object], key: str, where: str) -> object:
    """Return the value of a required key."""
    if key not in entry:
        found = ", ".join(map(_shown, list(entry)[:10])) or "no keys"
        raise DataError(f"{where}: the key {key!r} is missing, found {found}; add it, or choose another reader")
    return entry[key]


def list_member(entry: dict[str, object], key: str, where: str) -> list[object]:
    """Return the list of a required key."""
    value = member(entry, key, where)
    if not isinstance(value, list):
        raise DataError(f"{where}: {key!r} must be a list, found {_shown(value)}; correct the file")
    return value


def as_text(value: object, name: str, where: str) -> str:
    """Check that a value is a string that is not blank and that UTF-8 can encode, and return it."""
    if not isinstance(value, str) or not value.strip():
        raise DataError(
            f"{where}: {name!r} must be a string that is not blank, found {_shown(value)}; correct the file"
        )
    try:
        value.encode()
    except UnicodeEncodeError as error:
        # JSON can escape half of a surrogate pair; writing it to a log or a result would fail later.
        raise DataError(f"{where}: {name!r} contains half a character, {_shown(value)}; correct the file") from error
    return value


def as_number(value: object, name: str, where: str) -> float:
    """Check that a value is a finite number, not a boolean or string, and return it as a float."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if math.isfinite(number):
            return number
    raise DataError(f"{where}: {name!r} must be a finite number, found {_shown(value)}; correct the file")


def as_positive(value: object, name: str, where: str) -> float:
    """Check that a value is a finite number above 0, and return it as a float."""
    number = as_number(value, name, where)
    if number <= 0:
        raise DataError(f"{where}: {name!r} must be above 0, found {number}; correct it")
    return number


def parse_number(text: str, name: str, where: str) -> float:
    """Parse a finite float."""
    try:
        # Python would read "1_5" as 15, but in a data file it is a typing error.
        number = float(text.replace("_", "?"))
    except ValueError as error:
        raise DataError(f"{where}: {name!r} must be a number, found {_shown(text)}; correct the file") from error
    return as_number(number, name, where)


def as_span(value: object, where: str) -> tuple[float, float]:
    """Return start and end from a list of two finite numbers, in the unit of the file."""
    if not isinstance(value, list) or len(value) != 2:
        raise DataError(f"{where}: a span must be a list [start, end], found {_shown(value)}; correct the file")
    return as_number(value[0], "start", where), as_number(value[1], "end", where)


def as_query(value: object, name: str, where: str) -> str:
    """Return a sentence with at least one letter or digit, without outer white space."""
    query = as_text(value, name, where).strip()
    if not any(character.isalnum() for character in query):
        raise DataError(f"{where}: the query {_shown(query)} has no words; correct the file or remove the pair")
    return query


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}..."
