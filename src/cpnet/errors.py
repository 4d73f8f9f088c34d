"""Errors that a user can cause. Each message says what is wrong, where, and what to do next."""

from __future__ import annotations


class ConfigError(ValueError):
    """A configuration value cannot work. The message names the key, the value and the allowed values."""


class DataError(ValueError):
    """A user's file is missing or malformed. The message names the file, the place and the fix."""
