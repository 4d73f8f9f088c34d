"""Check untrusted JSON against the type annotations of a dataclass."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from functools import cache
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from cpnet.errors import shown

T = TypeVar("T")
NAMES = {str: "a string", int: "an integer", float: "a number", bool: "true or false"}
_types = cache(get_type_hints)


def parse(kind: type[T], value: object) -> T:
    """Build a dataclass from JSON. Unknown keys are ignored, and keys with a default may be missing.

    Raises:
        ValueError: a key is missing or its value has another type; the message names the dotted key
    """
    parsed: T = _parse(kind, value, "")
    return parsed


def _parse(kind: Any, value: Any, key: str) -> Any:
    if type(value) is kind or kind is Any:
        return value
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is UnionType:  # X | None
        return None if value is None else _parse(arguments[0], value, key)
    if origin is tuple:
        several = arguments[-1] is Ellipsis
        if isinstance(value, list | tuple) and (several or len(value) == len(arguments)):
            kinds = arguments[:1] * len(value) if several else arguments
            return tuple(_parse(each, item, key) for each, item in zip(kinds, value, strict=True))
        raise _error(key, "a list of values" if several else f"{len(arguments)} values", value)
    if origin is Mapping or is_dataclass(kind):
        if not isinstance(value, dict):
            raise _error(key, "an object", value)
        below = f"{key}." if key else ""
        types = dict.fromkeys(value, arguments[1]) if origin is Mapping else _types(kind)
        if missing := [f"{below}{name}" for name in types if name not in value and name not in _optional(kind)]:
            raise ValueError(f"it has no {', '.join(missing)}")
        parsed = {name: _parse(each, value[name], f"{below}{name}") for name, each in types.items() if name in value}
        return parsed if origin is Mapping else kind(**parsed)
    return _parse_leaf(kind, value, key)


@cache
def _optional(kind: Any) -> frozenset[str]:
    """Return the fields of a dataclass that have a default."""
    found = fields(kind) if is_dataclass(kind) else ()
    return frozenset(each.name for each in found if each.default is not MISSING or each.default_factory is not MISSING)


def _parse_leaf(kind: Any, value: object, key: str) -> Any:
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        with suppress(OverflowError):  # an integer beyond the range of float64
            return float(value)
    if not issubclass(kind, Enum):
        raise _error(key, NAMES[kind], value)
    allowed = [member.value for member in kind]
    if value not in allowed:
        raise _error(key, f"one of {', '.join(allowed)}", value)
    return kind(value)


def _error(key: str, wanted: str, value: object) -> ValueError:
    return ValueError(f"{key or 'the file'} must be {wanted}; got {shown(value)}")
