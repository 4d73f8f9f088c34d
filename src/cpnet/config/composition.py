"""How Hydra composes a configuration here: checked as a whole before Hydra or anybody else acts on it.

Hydra itself runs what a configuration says: callbacks, formatters and handlers of logging, lines of a job's shell
script; and it sets variables of the environment. A file of somebody else's can hold all of that (``--config-dir``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from hydra._internal import hydra as internals
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import CachingConfigRepository
from hydra.core.override_parser.types import Override
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from cpnet.config.errors import ConfigError
from cpnet.config.resolvers import register_resolvers
from cpnet.config.targets import TRUSTED, check_targets, is_trusted, mappings

PLUGINS = ("hydra_plugins.", "hydra._internal.core_plugins.")  # among them Hydra takes classes of plugins alone
# Keys of a launcher that become lines of a shell script, or options of the program that reads it
SCRIPTS = ("setup", "additional_parameters")
LAUNCHERS = re.compile(r"([^$\x00-\x1f]|\$\{hydra\.(sweep\.dir|job\.name)\})*")  # a line's end would begin a command
LOGGING = {
    *("version", "format", "datefmt", "class", "formatter", "level", "stream", "filename", "mode", "encoding", "delay"),
    *("handlers", "propagate", "disable_existing_loggers", "root"),
}
ONE_OF = {
    "class": ("logging.StreamHandler", "logging.FileHandler", "logging.NullHandler"),
    "stream": ("ext://sys.stdout", "ext://sys.stderr"),
}
LOG_FILE = re.compile(r"(\$\{hydra[.:]runtime\.output_dir\}/)?(\$\{hydra[.:]job\.name\}|[\w-])+\.log")
YOURS = f"\n  If you trust the one who wrote it, say so in the environment: {TRUSTED}=hydra"


class CheckedLoader(ConfigLoaderImpl):
    """Hydra's loader; what it has composed is checked before anybody sees it.

    A class, as launchers take the loader to other processes and compose the configurations of jobs there.
    """

    def load_configuration(
        self,
        config_name: str | None,
        overrides: list[str],
        run_mode: RunMode,
        from_shell: bool = True,
        validate_sweep_overrides: bool = True,
    ) -> DictConfig:
        """Compose; see ``ConfigLoaderImpl``.

        Raises:
            ConfigError: somebody's file would run code, or copy a secret
        """
        register_resolvers()
        cfg = super().load_configuration(config_name, overrides, run_mode, from_shell, validate_sweep_overrides)
        check(cfg)
        return cfg

    def _process_config_searchpath(
        self, config_name: str | None, parsed_overrides: list[Override], repo: CachingConfigRepository
    ) -> None:
        """Look for packages among the places of files first: to look into one is to import it."""
        loaded = repo.load_config(config_name) if config_name else None
        primary = OmegaConf.select(loaded.config, "hydra.searchpath") if loaded else None
        overriding = [each.value() for each in parsed_overrides if each.get_key_element() == "hydra.searchpath"]
        for package in re.findall(r"pkg:/+([\w./]*)", " ".join(map(str, [*(primary or ()), *overriding]))):
            if not is_trusted(package.replace("/", ".")):
                raise ConfigError(
                    f"hydra.searchpath: pkg://{package} would be imported; give a folder, file://FOLDER\n"
                    f"  or, for code of your own, name its package in the environment: {TRUSTED}={package}"
                )
        super()._process_config_searchpath(config_name, parsed_overrides, repo)


def install() -> None:
    """Have Hydra compose with the checked loader."""
    internals.ConfigLoaderImpl = CheckedLoader  # type: ignore[attr-defined]  # the one place where a loader is made


def check(cfg: DictConfig) -> None:
    """Refuse a composed configuration that would run code or copy a secret; nothing in it is resolved.

    Raises:
        ConfigError: it would
    """
    plain = OmegaConf.to_container(cfg, resolve=False)
    assert isinstance(plain, dict)
    check_targets({key: value for key, value in plain.items() if key != "hydra"})
    if not is_trusted("hydra"):
        _check_hydra(plain["hydra"])


def _check_hydra(node: Mapping[str, Any]) -> None:
    for key in ("env_copy", "env_set"):
        if node["job"].get(key):
            raise ConfigError(f"hydra.job.{key} is not allowed: set variables in the environment itself{YOURS}")
    if node["job"].get("chdir"):  # libraries take settings and programs from where they are called, as W&B its address
        raise ConfigError(f"hydra.job.chdir is not allowed: a run's folder could be somebody else's{YOURS}")
    if not re.fullmatch(r"[\w-]+", str(node["job"].get("name"))):
        raise ConfigError(f"hydra.job.name must be a word; got {node['job'].get('name')!r}{YOURS}")
    for path, mapping in mappings(dict(node), "hydra"):
        target = mapping.get("_target_")
        plugin = path in ("hydra.launcher", "hydra.sweeper") and str(target).startswith(PLUGINS)
        if "_target_" in mapping and not plugin and not is_trusted(str(target)):
            raise ConfigError(f"{path}._target_={target} is nothing that Hydra may call here{YOURS}")
    _check_launcher(node.get("launcher") or {})
    for key in ("job_logging", "hydra_logging"):
        for path, name, value in _leaves(node.get(key), f"hydra.{key}"):
            _check_logging(path, name, value)


def _check_launcher(node: Mapping[str, Any]) -> None:
    for key, value in node.items():
        if key in SCRIPTS and value:
            raise ConfigError(f"hydra.launcher.{key} becomes part of a shell script{YOURS}")
        if isinstance(value, str) and not LAUNCHERS.fullmatch(value):
            raise ConfigError(f"hydra.launcher.{key} must be one line without interpolations; got {value!r}{YOURS}")


def _leaves(node: object, path: str) -> Iterator[tuple[str, str, object]]:
    """Give values with their dotted key and its last part."""
    for parent, mapping in mappings(node, path):
        for name, value in mapping.items():
            if not isinstance(value, Mapping) or name in ("()", "."):
                yield f"{parent}.{name}", str(name), value


def _check_logging(path: str, name: str, value: object) -> None:
    """Hold logging to lines of text, on the terminal or in a log of the run: its own format has calls and imports."""
    texts = [each for each in (value if isinstance(value, list) else [value]) if isinstance(each, str)]
    if name in ONE_OF:
        harmless = value in ONE_OF[name]
    elif name == "filename":
        harmless = isinstance(value, str) and LOG_FILE.fullmatch(value) is not None
    else:
        harmless = name in LOGGING and not any("${" in text or re.match(r"\w+://", text) for text in texts)
    if not harmless:
        raise ConfigError(f"{path}={value!r} is not allowed: logging could run any program{YOURS}")
