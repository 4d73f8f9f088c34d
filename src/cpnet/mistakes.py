"""What a user's error means, in lines that fit on a screen. Imports nothing heavy."""

from __future__ import annotations

import difflib
import errno
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException, MissingConfigException
from omegaconf import OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException, ValidationError

from cpnet.config import CONFIG_DIR, ConfigError, given
from cpnet.data.moment import DataError

USER_ERRORS = (ConfigError, DataError, HydraException, OmegaConfBaseException)
FULL = (errno.EDQUOT, errno.ENOSPC)
NO_PLACE = (
    *FULL,
    *(errno.EACCES, errno.EEXIST, errno.ELOOP, errno.ENAMETOOLONG, errno.ENOTDIR, errno.EPERM, errno.EROFS),
)


def said(error: Exception, config_name: str) -> str | None:
    """Say what a mistake of the user's is, or None where it is ours."""
    if isinstance(error, USER_ERRORS):
        return explain(error, config_name)
    if isinstance(error, ValueError) and str(error).startswith("Config group override must be"):
        return "a group is chosen by a name, not by null; --help lists the names, such as logger=none"
    return _no_place(error) if isinstance(error, OSError) else None


def _no_place(error: OSError) -> str | None:
    """Say why the folder of a run or sweep cannot be written into, or None where that is not what is wrong."""
    arguments = sys.argv[1:]
    resumed = given(arguments, "resume_from")
    key = "hydra.sweep.dir" if {"-m", "--multirun"} & set(arguments) else "hydra.run.dir"
    folder = Path(resumed or given(arguments, key) or "outputs").expanduser().absolute()
    gone = (
        error.errno == errno.ENOENT and not folder.exists() and folder in Path(str(error.filename)).absolute().parents
    )
    full = error.errno in FULL and not error.filename  # as where Hydra writes into .hydra
    if not full and not gone and (error.errno not in NO_PLACE or not error.filename):
        return None
    hint = "that is where resume_from goes on" if resumed else f"{key}=FOLDER names another folder"
    return f"{error.filename or folder}: {error.strerror}; {hint}"


def explain(error: BaseException, config_name: str) -> str:
    """Say what a user's error means: key, value, what is allowed, and what may have been meant."""
    causes = list(_chain(error))
    for cause in causes:
        if isinstance(cause, ConfigError | DataError):
            return str(cause)
    for cause in causes:
        if isinstance(cause, ValidationError):
            key = getattr(cause, "full_key", None)
            return f"{key}: {_first_line(cause)}"
        if isinstance(cause, ConfigAttributeError | ConfigKeyError) and getattr(cause, "full_key", None):
            return _unknown_key(str(cause.full_key), config_name)
        if isinstance(cause, MissingConfigException) and cause.options is not None:
            return _unknown_option(str(cause.missing_cfg_file), list(cause.options))
    text = str(error)
    if text.startswith("recipe appears more than once"):
        return "size=... brings a model and recipe of its own, and so does model=cpnet_small: leave one of them out"
    match = re.search(r"Could not override '([^']+)'", text)
    return _unknown_key(match[1], config_name) if match else text


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _first_line(error: BaseException) -> str:
    return str(error).splitlines()[0]


def _unknown_option(name: str, options: list[str]) -> str:
    group, _, value = name.rpartition("/")
    options = [option for option in options if not option.startswith("base_")]
    return (
        f"{group}={value}: there is no such {group}.{_meant(value, options)}\n  {group} is one of: {', '.join(options)}"
    )


def _unknown_key(key: str, config_name: str) -> str:
    """Compose what the command line chose, without its other overrides, to list the keys that there are."""
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
        return f"{key} cannot be chosen here, only its keys can be set: {', '.join(_below(key, keys))}"
    parent = key.rpartition(".")[0]
    siblings = _below(parent, keys)
    there = f"\n  keys under {parent or 'the root'}: {', '.join(siblings)}" if siblings else ""
    return f"{key}: there is no such key.{_meant(key, keys)}{there}\n  every key and its value: --cfg job"


def _below(parent: str, keys: list[str]) -> list[str]:
    return [key.rpartition(".")[2] for key in keys if key.rpartition(".")[0] == parent]


def _keys(node: object, prefix: str = "") -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            if not str(key).startswith("_"):
                yield f"{prefix}{key}"
                yield from _keys(value, f"{prefix}{key}.")


def _meant(word: str, words: list[str]) -> str:
    words = [known for known in words if not word.startswith(f"{known}.")]
    by_last = {known.rpartition(".")[2]: known for known in reversed(words)}
    near = difflib.get_close_matches(word, words, n=3, cutoff=0.6)
    near += [by_last[last] for last in difflib.get_close_matches(word.rpartition(".")[2], by_last, n=3, cutoff=0.7)]
    return f" Did you mean {' or '.join(dict.fromkeys(near))}?" if near else ""
