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

from cpnet.errors import DataError, quote, shown

OTHER = "choose another reader (docs/annotations.md)"  # how a message may end
_LINE = re.compile("^.*$", re.MULTILINE)


def read_text(path: Path | str) -> str:
    r"""Return the text of a UTF-8 file that is not blank, without byte-order mark, each line ended by ``\n``."""
    try:
        file = Path(path).expanduser()
        if file.exists() and not (file.is_file() or file.is_dir()):  # reading would wait for a pipe, or never end
            raise ValueError("it is a device or a pipe")
        raw = file.read_bytes().removeprefix(codecs.BOM_UTF8)
    except (OSError, ValueError, RuntimeError) as error:
        # ValueError: also a path with a null character. RuntimeError: the home folder of an unknown user.
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


def lines_of(text: str) -> Iterator[tuple[int, str]]:
    """Yield the number, counted from 1, and the text of each line that is not blank."""
    # str.splitlines would also split at characters inside a sentence, such as U+2028. A list of all lines would double
    # the memory.
    for number, match in enumerate(_LINE.finditer(text), start=1):
        if match[0].strip():
            yield number, match[0]


def read_rows(path: Path | str) -> Iterator[tuple[str, dict[str, object]]]:
    """Yield (where, row) for each row of JSON lines, of a JSON list, or of a JSON object that holds one list of rows.

    The content of the file decides, not its name.
    """
    text = read_text(path)
    rows = _listed_rows(text, str(path))
    if rows is None:
        for number, line in lines_of(text):
            yield f"{path}: line {number}", parse_object(line, f"{path}: line {number}")
        return
    for number, row in enumerate(rows, start=1):
        yield f"{path}: row {number}", as_object(row, f"{path}: row {number}")


def _listed_rows(text: str, where: str) -> list[object] | None:
    """Return the rows of one JSON value; None for JSON lines."""
    try:
        value = parse_json(text, where)
    except DataError:
        if text.lstrip().startswith("[") or next(lines_of(text))[1].strip() == "{":
            raise
        return None
    if isinstance(value, dict) and "qid" not in value:
        lists = [key for key, each in value.items() if isinstance(each, list) and each and isinstance(each[0], dict)]
        if len(lists) > 1:
            raise DataError(f"{where}: several lists of rows, {quote(lists)}; keep one of them")
        value = value[lists[0]] if lists else value
    if isinstance(value, dict):
        return [value] if "\n" in text.strip() else None
    if not isinstance(value, list) or not value:
        raise DataError(f"{where}: expected rows, found {shown(value)}; check the path in the dataset's config")
    return value


def parse_json(text: str, where: str) -> object:
    """Parse a JSON value in which no object repeats a key."""
    try:
        value: object = json.loads(text, object_pairs_hook=_unique_keys)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: not valid JSON ({error}); correct or download the file, or {OTHER}") from error
    return value


def parse_object(text: str, where: str) -> dict[str, object]:
    """Parse a JSON object in which no key is repeated."""
    return as_object(parse_json(text, where), where)


def _unique_keys(pairs: list[tuple[str, object]]) -> dict[str, object]:
    entry = dict(pairs)
    if len(entry) < len(pairs):
        repeated = Counter(key for key, _ in pairs).most_common(1)[0][0]
        values = " and ".join([shown(value) for key, value in pairs if key == repeated][:2])
        raise ValueError(f"the key {shown(repeated)} appears twice in one object, with {values}")
    return entry


def as_object(value: object, where: str) -> dict[str, object]:
    """Check that a value is a JSON object, and return it."""
    if not isinstance(value, dict):
        raise DataError(f"{where}: expected a JSON object, found {shown(value)}; correct it, or {OTHER}")
    return value


def as_list(value: object, name: str, where: str) -> list[object]:
    """Check that a value is a list, and return it."""
    if not isinstance(value, list):
        raise DataError(f"{where}: {name!r} must be a list, found {shown(value)}; correct it, or {OTHER}")
    return value


def member(entry: dict[str, object], key: str, where: str, *also: str) -> object:
    """Return the value of a required key, or else of the first of ``also`` that is there."""
    for name in (key, *also):
        if name in entry:
            return entry[name]
    raise DataError(f"{where}: the key {key!r} is missing, found {quote(entry) or 'no keys'}; add it, or {OTHER}")


def objects(entry: dict[str, object], key: str, where: str) -> list[dict[str, object]]:
    """Return the list of objects of a required key."""
    return [as_object(value, where) for value in as_list(member(entry, key, where), key, where)]


def as_text(value: object, name: str, where: str) -> str:
    """Check that a value is a string that is not blank and that UTF-8 can encode, and return it."""
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{where}: {name!r} must be a string that is not blank, found {shown(value)}; correct the file")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        # JSON can escape half of a surrogate pair; writing it to a log or a result would fail later.
        raise DataError(f"{where}: {name!r} contains half a character, {shown(value)}; correct the file") from error
    return value


def as_id(value: object, name: str, where: str) -> str:
    """Return an id, which may be an integer in the file, as a string."""
    return as_text(str(value) if type(value) is int else value, name, where)


def as_number(value: object, name: str, where: str) -> float:
    """Check that a value is a finite number, not a boolean or string, and return it as a float."""
    if type(value) is float and math.isfinite(value):  # nearly all, and fast
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if math.isfinite(number):
            return number
    raise DataError(f"{where}: {name!r} must be a finite number, found {shown(value)}; correct the file")


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
        raise DataError(f"{where}: {name!r} must be a number, found {shown(text)}; correct the file") from error
    return as_number(number, name, where)


def as_span(value: object, where: str) -> tuple[float, float]:
    """Return start and end from a list of two finite numbers, in the unit of the file."""
    if not isinstance(value, list) or len(value) != 2:
        raise DataError(f"{where}: a span must be a list [start, end], found {shown(value)}; correct the file")
    return as_number(value[0], "start", where), as_number(value[1], "end", where)


def as_query(value: object, name: str, where: str) -> str:
    """Return a sentence with at least one letter or digit, without outer white space."""
    query = as_text(value, name, where).strip()
    if not query[0].isalnum() and not any(map(str.isalnum, query)):
        raise DataError(f"{where}: the query {shown(query)} has no words; correct the file or remove the pair")
    return query
