"""Run a command: compose its configuration with Hydra, call it, and turn user errors into short messages.

Imports nothing heavy, so that ``--help`` and errors appear at once.
"""

from __future__ import annotations

import functools
import logging
import os
import re
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from cpnet.config import CONFIG_DIR, as_text, given, register_schemas
from cpnet.data.required_files import check_files, needed_files
from cpnet.errors import ConfigError
from cpnet.launch import messages, processes
from cpnet.launch.help import help_text
from cpnet.launch.links import check_links
from cpnet.terminal import PrintableRecord, brief, printable
from cpnet.training import threads

log = logging.getLogger(__name__)

RERUN = "--e"  # prefix of --experimental-rerun, which may be abbreviated, and of no other flag
HOME = re.compile(r"""(?<=[=\[,"' ])~(?=[/"',\]]|$)""")  # in a value: a=~/x, a=[~/x,~/y], a='~/x'

# Warnings of Lightning and torch about deliberate choices of this package
IGNORED_WARNINGS = (
    r".*LeafSpec.*",
    r".*does not have many workers.*",
    r".*Checkpoint directory .* exists and is not empty.*",
    r".*number of training batches.*smaller than the logging interval.*",
    r".*srun.*command is available.*",
    r".*torch\._prims_common\.check.*",
    r".*recommended to use .*sync_dist=True.*",
    r".*metric .* was called before the ``update`` method.*",
)


def run(task: Callable[[DictConfig], object], *, config_name: str, prepare: Callable[[], None] = lambda: None) -> None:
    """Compose ``conf/<config_name>.yaml`` with the overrides of the command line and call the task.

    A user error ends with exit code 1 and a short message, any other error with its traceback.

    Args:
        task: function to call with the configuration
        config_name: the primary configuration
        prepare: called before the configuration is composed
    """
    if {"--help", "-h"} & set(sys.argv[1:]):
        sys.stdout.write(help_text(config_name))
        raise SystemExit(0)
    sys.argv[1:] = arranged(sys.argv[1:])
    os.environ["HYDRA_FULL_ERROR"] = "1"  # makes Hydra raise instead of print, for message_for
    for message in IGNORED_WARNINGS:
        warnings.filterwarnings("ignore", message=message)
    logging.setLogRecordFactory(PrintableRecord)
    processes.die_with_parent()
    if not {"--multirun", "-m"} & set(sys.argv[1:]):  # jobs choose for themselves, maybe elsewhere
        threads.choose()
    register_schemas()
    failed: list[Exception] = []  # the error of a single run: Hydra would print the overrides before its message

    @functools.wraps(task)
    def call(cfg: DictConfig) -> object:
        try:
            return task(cfg)
        except Exception as error:
            if HydraConfig.get().mode == RunMode.MULTIRUN:
                raise
            failed.append(error)
            return None

    main = hydra.main(version_base="1.3", config_path=str(CONFIG_DIR), config_name=config_name)(call)
    with processes.exit_cleanly():
        _call(main, prepare, config_name, failed)


def arranged(arguments: Sequence[str]) -> list[str]:
    """Return a command line with the overrides before the flags, as argparse wants, and ``~`` in paths expanded."""
    home = str(Path.home())
    arguments = [each if each.startswith("query=") else HOME.sub(lambda _: home, each) for each in arguments]
    overrides = get_args_parser().parse_known_intermixed_args(arguments)[0].overrides
    flags = list(arguments)
    for each in overrides:
        flags.remove(each)
    return [*overrides, *flags]


def _call(
    main: Callable[[], object], prepare: Callable[[], None], config_name: str, failed: Sequence[Exception]
) -> None:
    arguments = sys.argv[1:]
    try:
        if any(each.startswith(RERUN) for each in arguments):
            raise ConfigError("--experimental-rerun is not supported: it loads a pickle, which can run any program")
        for key in ("resume_from", "hydra.run.dir", "hydra.sweep.dir"):  # before Hydra writes there
            if folder := given(arguments, key):
                check_links(Path(folder).expanduser())
        prepare()
        main()
        if failed:
            raise failed[0]
    except KeyboardInterrupt:  # not in a training process, which handles SIGINT itself
        hint = "; rerun the same command with sweep.resume=true to resume" if config_name == "train" else ""
        sys.stderr.write(f"cpnet: interrupted{hint}\n")
        raise SystemExit(130) from None
    except Exception as error:
        message = messages.message_for(error, config_name)
        if message is None:
            summary = f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"
            if not processes.report_failure(summary, traceback.format_exc()):
                raise
        else:
            log.debug("raised here:", exc_info=error)  # shown by hydra.verbose=true
            message = printable(brief(message))
            if not processes.report_failure(message):
                sys.stderr.write(f"cpnet: {message}\n")
        raise SystemExit(1) from None


def check_corpus(cfg: DictConfig, *, words_known: bool = False, annotations_only: bool = False) -> None:
    """Check that the files of the dataset exist, unless the dataset is generated; see ``needed_files``.

    Raises:
        DataError: files are missing
    """
    if not cfg.dataset.generate:
        dataset = OmegaConf.to_container(cfg.dataset, resolve=True, throw_on_missing=not annotations_only)
        assert isinstance(dataset, dict)
        named = {str(key): value for key, value in dataset.items()}
        files = needed_files(named, words_known=words_known, annotations_only=annotations_only)
        check_files(cfg.dataset.name, files)


def check_target(key: str, path: Path, *inputs: str | None) -> None:
    """Check, before long work, that a file can be written and is not one of the ``inputs`` of the command.

    Raises:
        ConfigError: it cannot be written, or is an input
    """
    if (path.exists() and not path.is_file()) or not os.access(path.parent, os.W_OK):
        raise ConfigError(
            f"{key}={path} cannot be written: it is no regular file, or its folder cannot be written to; choose another"
        )
    if path.exists() and any(each and Path(each).exists() and path.samefile(each) for each in inputs):
        raise ConfigError(f"{key}={path} would overwrite an input of the command; choose another file")


def name_experiment() -> None:
    """Rewrite ``sys.argv``: ``experiment=NAME`` sets ``experiment_name``; ``baseline=a=1, b=2`` is quoted."""
    arguments = as_text(sys.argv[1:], ["baseline"])
    sys.argv[1:] = [re.sub(r"^experiment=", "experiment_name=", each) for each in arguments]
