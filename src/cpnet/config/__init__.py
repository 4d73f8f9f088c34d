"""The configuration: types of all keys, location of ``conf/``, resolvers, and allowed targets.

The yaml files of ``conf/`` set the values. A schema types every key: an unknown key or a wrong type raises an error
that names the key, before anything is loaded. Constructors check ranges and rules across several keys.
"""

from __future__ import annotations

from pathlib import Path

from cpnet.config.overrides import as_text, for_shell, given, quoted
from cpnet.config.schema import register_schemas
from cpnet.config.targets import check_call, make_later

__all__ = ["CONFIG_DIR", "as_text", "check_call", "for_shell", "given", "make_later", "quoted", "register_schemas"]

_PACKAGE = Path(__file__).resolve().parents[1]
_IN_WHEEL = _PACKAGE / "conf"
CONFIG_DIR = _IN_WHEEL if _IN_WHEEL.is_dir() else _PACKAGE.parents[1] / "conf"
