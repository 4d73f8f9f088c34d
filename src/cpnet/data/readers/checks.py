"""What every reader asks of a user's file: that it is there, is UTF-8, and that each value is what the format says.

``where`` is the beginning of every error message: the file, and the line or the video in it.
"""

from __future__ import annotations

import codecs
import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from cpnet.data.moment import DataError, Moment

_LINE = re.compile("^.*$", re.MULTILINE)


def read_text(path: Path | str) -> str:
    """Text of a file in UTF-8, without byte-order mark and with ``\\n`` as line end, also where it has ``\\r`` alone.

    Raises:
        DataError: the file cannot be read, is not UTF-8, or is empty.
    """
    try:
        raw = Path(path).expanduser().read_bytes().removeprefix(codecs.BOM_UTF8)
    except (OSError, ValueError, RuntimeError) as error:
        # A ValueError is a path with a null character, a RuntimeError the home of a user that there is not.
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
    """Give the lines of a text file that are not blank one by one, each with its number, counted from 1.

    Raises:
        DataError: as ``read_text``.
    """
    # Not str.splitlines: it also splits at characters that a sentence may hold, such as U+2028. And no list of all
    # lines, which would be in memory beside the text.
    for number, match in enumerate(_LINE.finditer(read_text(path)), start=1):
        line = match[0]
        if line.strip():
            yield number, line


def parse_object(text: str, where: str) -> dict[str, object]:
    """A JSON object, in which no key appears twice.

    Raises:
        DataError: the text is not JSON, repeats a key, or is not an object.
    """
    try:
        value: object = json.loads(text, object_pairs_hook=_unique_keys)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: not valid JSON ({error}); correct the file or download it again") from error
    return as_object(value, where)


def _unique_keys(pairs: list[tuple[str, object]]) -> dict[str, object]:
    entry = dict(pairs)
    if len(entry) < len(pairs):
        counts = Counter(key for key, _ in pairs)
        repeated = next(key for key in entry if counts[key] > 1)
        values = " and ".join([_shown(value) for key, value in pairs if key == repeated][:2])
        raise ValueError(f"the key {_shown(repeated)} appears twice in one object, with {values}")
    return entry


def as_object(value: object, where: str) -> dict[str, object]:
    """The value, which must be a JSON object.

    Raises:
        DataError: it is something else.
    """
    if not isinstance(value, dict):
        raise DataError(
            f"{where}: expected a JSON object, found {_shown(value)}; is this the right reader for the file?"
        )
    return value


def member(entry: dict[str, object], key: str, where: str) -> object:
    """The value under a key that the format demands.

    Raises:
        DataError: there is no such key.
    """
    if key not in entry:
        found = ", ".join(map(_shown, list(entry)[:10])) or "no keys"
        raise DataError(f"{where}: the key {key!r} is missing, found {found}; add it, or choose another reader")
    return entry[key]


def list_member(entry: dict[str, object], key: str, where: str) -> list[object]:
    """The list under a key that the format demands.

    Raises:
        DataError: there is no such key, or its value is not a list.
    """
    value = member(entry, key, where)
    if not isinstance(value, list):
        raise DataError(f"{where}: {key!r} must be a list, found {_shown(value)}; correct the file")
    return value


def as_text(value: object, name: str, where: str) -> str:
    """The value, which must be a string that is not blank.

    Raises:
        DataError: it is something else, or cannot be written as UTF-8.
    """
    if not isinstance(value, str) or not value.strip():
        raise DataError(
            f"{where}: {name!r} must be a string that is not blank, found {_shown(value)}; correct the file"
        )
    try:
        value.encode()
    except UnicodeEncodeError as error:
        # JSON can escape half of a surrogate pair; the string would only fail later, when a log or a result is written.
        raise DataError(f"{where}: {name!r} holds half of a character, {_shown(value)}; correct the file") from error
    return value


def as_number(value: object, name: str, where: str) -> float:
    """The value as a finite float; true and false are no numbers, nor are strings.

    Raises:
        DataError: it is something else.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if math.isfinite(number):
            return number
    raise DataError(f"{where}: {name!r} must be a finite number, found {_shown(value)}; correct the file")


def as_positive(value: object, name: str, where: str) -> float:
    """The value as a finite float above zero.

    Raises:
        DataError: it is something else.
    """
    number = as_number(value, name, where)
    if number <= 0:
        raise DataError(f"{where}: {name!r} must be above 0, found {number}; correct it")
    return number


def parse_number(text: str, name: str, where: str) -> float:
    """The finite float that a text spells.

    Raises:
        DataError: the text spells none.
    """
    try:
        # Python's own digit separator: "1_5" is a slip of the pen, not fifteen.
        number = float(text.replace("_", "?"))
    except ValueError as error:
        raise DataError(f"{where}: {name!r} must be a number, found {_shown(text)}; correct the file") from error
    return as_number(number, name, where)


def as_span(value: object, where: str) -> tuple[float, float]:
    """Start and end out of a list of two numbers, in the file's unit.

    Raises:
        DataError: the value is not a list of two finite numbers.
    """
    if not isinstance(value, list) or len(value) != 2:
        raise DataError(f"{where}: a span must be a list [start, end], found {_shown(value)}; correct the file")
    return as_number(value[0], "start", where), as_number(value[1], "end", where)


def as_query(value: object, name: str, where: str) -> str:
    """The sentence without outer white space.

    Raises:
        DataError: the value is not a string, or holds neither letter nor digit.
    """
    query = as_text(value, name, where).strip()
    if not any(character.isalnum() for character in query):
        raise DataError(f"{where}: the query {_shown(query)} has no words; correct the file or remove the pair")
    return query


def not_empty(moments: list[Moment], path: Path | str) -> list[Moment]:
    """The moments of a file, at least one.

    Raises:
        DataError: there is none.
    """
    if not moments:
        raise DataError(f"{path}: the file holds no annotated pair; check the path in the dataset's config")
    return moments


def _shown(value: object) -> str:
    try:
        text = repr(value)
    except RecursionError:
        text = f"a {type(value).__name__} of very many levels"
    return text if len(text) <= 80 else f"{text[:80]}..."
