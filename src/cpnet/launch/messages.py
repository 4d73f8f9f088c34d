"""Short error messages for users. Does not import torch, so they appear at once."""

from __future__ import annotations

import difflib
import errno
import os
import re
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import OmegaConf
from omegaconf.errors import (
    ConfigAttributeError,
    ConfigKeyError,
    MissingMandatoryValue,
    OmegaConfBaseException,
    UnsupportedValueType,
    ValidationError,
)

from cpnet.config import CONFIG_DIR, for_shell, given
from cpnet.errors import ConfigError, DataError, cut

USER_ERRORS = (ConfigError, DataError, HydraException, OmegaConfBaseException)
DISK_FULL = (errno.EDQUOT, errno.ENOSPC)
NOT_WRITABLE = (
    *DISK_FULL,
    *(errno.EACCES, errno.EEXIST, errno.ELOOP, errno.ENAMETOOLONG, errno.ENOTDIR, errno.EPERM, errno.EROFS),
)
NOT_MERGED = (
    "a mapping without a value, or with other keys, cannot be set on the command line; write it in a yaml of your own "
    "and add its folder: --config-dir FOLDER"
)


def message_for(error: Exception, config_name: str) -> str | None:
    """Return the message for an error that a user can fix, or None for a bug."""
    if isinstance(error, USER_ERRORS):
        return explain(error, config_name)
    if isinstance(error, ValueError) and str(error).startswith("Config group override must be"):
        return "a group needs a name, not null; --help lists the names, such as logger=none"
    if type(error).__module__.startswith("yaml."):
        return f"a file is not valid yaml: {error}"
    if type(error).__name__ in ("InductorError", "BackendCompilerFailed"):  # of torch
        return (
            f"torch cannot compile the model ({cut(' '.join(str(error).split()))})\n  A killed run may have damaged "
            f"compiled code: delete {os.environ.get('TORCHINDUCTOR_CACHE_DIR')}, or set trainer.compile=false"
        )
    frames = traceback.extract_tb(error.__traceback__)
    hydra_failed = any("config_loader" in each.filename for each in frames)
    if hydra_failed and isinstance(error, AttributeError | AssertionError | TypeError):
        return f"{' '.join(sys.argv[1:])}: {NOT_MERGED}"
    return _output_folder_error(error) if isinstance(error, OSError) else None


def _output_folder_error(error: OSError) -> str | None:
    """Return why the folder of a run or sweep cannot be written to, or None if that is not the problem."""
    arguments = sys.argv[1:]
    resumed = given(arguments, "resume_from")
    key = "hydra.sweep.dir" if {"-m", "--multirun"} & set(arguments) else "hydra.run.dir"
    folder = Path(resumed or given(arguments, key) or "outputs").expanduser().absolute()
    if error.errno not in NOT_WRITABLE or (not error.filename and error.errno not in DISK_FULL):
        return None
    hint = "resume_from needs to write there" if resumed else f"choose another folder: {key}=FOLDER"
    if error.errno in DISK_FULL:
        hint = "free some space; resume_from=FOLDER continues a training, sweep.resume=true a sweep"
    return f"{error.filename or folder}: {error.strerror}; {hint}"


def explain(error: BaseException, config_name: str) -> str:
    """Return the key, its value, the allowed values and a suggestion for a user error."""
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, ConfigError | DataError):
            return str(cause)
    for cause in causes:
        if message := _wrong_value(cause, str(error)):
            return message
        if isinstance(cause, ConfigAttributeError | ConfigKeyError) and getattr(cause, "full_key", None):
            return _unknown_key(str(cause.full_key), config_name)
        if isinstance(cause, MissingConfigException) and cause.options is not None:
            return _unknown_choice(str(cause.missing_cfg_file), list(cause.options))
    text = str(error)
    if match := re.match(r"Ambiguous value for argument '(.*?)'\n1\. ", text, re.DOTALL):
        return f"{match[1]}: one value, or several? To run one job per value, add -m.{_as_text(match[1])}"
    match = re.search(r"Could not override '([^']+)'", text)
    return _unknown_key(match[1], config_name) if match else text


def _wrong_value(cause: BaseException, text: str) -> str | None:
    """Return what is wrong with a value, or None if the cause is another one; ``text`` is Hydra's error."""
    key = str(getattr(cause, "full_key", None))
    if isinstance(cause, OverrideParseException):
        return f"{cause.override}: Hydra cannot read this; an override is KEY=VALUE.{_as_text(cause.override)}"
    if isinstance(cause, UnsupportedValueType | MissingMandatoryValue) and text.startswith("Error merging override "):
        return f"{text.splitlines()[0].removeprefix('Error merging override ')}: {NOT_MERGED}"
    if isinstance(cause, MissingMandatoryValue):
        return f"{key} has no value; set it in the yaml, or on the command line: {key}=VALUE"
    return f"{key}: {cut(str(cause).splitlines()[0])}" if isinstance(cause, ValidationError) else None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _as_text(override: str) -> str:
    """Return how to write a value with characters of Hydra's syntax, such as a path; nothing without a value."""
    key, _, value = override.partition("=")
    return f"\n  If it is a path or text, quote it, also for the shell: {for_shell(key, value)}" if value else ""


def _unknown_choice(name: str, options: list[str]) -> str:
    group, _, value = name.rpartition("/")
    options = [option for option in options if not option.startswith("base_")]
    return (
        f"{group}={value}: there is no such {group}.{_did_you_mean(value, options)}"
        f"\n  {group} is one of: {', '.join(options)}"
    )


def _unknown_key(key: str, config_name: str) -> str:
    """Suggest keys of the configuration, composed with the command line's groups but not its other overrides."""
    key = key.split("@")[0]
    groups = [arg for arg in sys.argv[1:] if re.fullmatch(r"[a-z_]+=[\w-]+", arg) and not arg.startswith(f"{key}=")]
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(version_base="1.3", config_dir=str(CONFIG_DIR)):
        try:
            cfg = hydra.compose(config_name, overrides=groups)
        except HydraException:
            cfg = hydra.compose(config_name)
    keys = list(_keys(OmegaConf.to_container(cfg, resolve=False)))
    if key in keys:
        return f"{key} is not a group of this command; set its keys instead: {', '.join(_children(key, keys))}"
    parent = key.rpartition(".")[0]
    siblings = _children(parent, keys)
    existing = f"\n  keys under {parent or 'the root'}: {', '.join(siblings)}" if siblings else ""
    return f"{key}: there is no such key.{_did_you_mean(key, keys)}{existing}\n  every key and its value: --cfg job"


def _children(parent: str, keys: list[str]) -> list[str]:
    return [key.rpartition(".")[2] for key in keys if key.rpartition(".")[0] == parent]


def _keys(node: object, prefix: str = "") -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            if not str(key).startswith("_"):
                yield f"{prefix}{key}"
                yield from _keys(value, f"{prefix}{key}.")


def _did_you_mean(word: str, words: list[str]) -> str:
    words = [known for known in words if not word.startswith(f"{known}.")]
    by_last = {known.rpartition(".")[2]: known for known in reversed(words)}
    near = difflib.get_close_matches(word, words, n=3, cutoff=0.6)
    near += [by_last[last] for last in difflib.get_close_matches(word.rpartition(".")[2], by_last, n=3, cutoff=0.7)]
    return f" Did you mean {' or '.join(dict.fromkeys(near))}?" if near else ""
