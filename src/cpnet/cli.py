"""The command line: Hydra's, with errors that fit on a screen. Imports nothing heavy."""

from __future__ import annotations

import difflib
import errno
import itertools
import logging
import os
import re
import sys
import textwrap
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException, ValidationError

from cpnet import processes
from cpnet.config import CONFIG_DIR, ConfigError, composition, quoted, register_schemas
from cpnet.data.files import check_files, needed_files
from cpnet.data.moment import DataError
from cpnet.printing import printable

FROM_CHECKPOINT = (
    *("dataset", "model", "model_name", "loss", "sampling", "metrics"),
    *("data_dir", "batch_size", "num_workers", "seed"),
)
log = logging.getLogger(__name__)

RERUN = "--e"  # --experimental-rerun, also cut short; no other flag begins so
USER_ERRORS = (ConfigError, DataError, HydraException, OmegaConfBaseException)
FULL = (errno.EDQUOT, errno.ENOSPC)
NO_PLACE = (
    *FULL,
    *(errno.EACCES, errno.EEXIST, errno.ELOOP, errno.ENAMETOOLONG, errno.ENOTDIR, errno.EPERM, errno.EROFS),
)

# Lightning's remarks on matters that are settled here
NOISE = (
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

    A mistake of the user's ends with exit code 1 and a few lines that say what is wrong; a mistake of ours with its
    traceback.

    Args:
        task: what is done with the configuration
        config_name: the primary configuration
        prepare: called before the configuration is composed
    """
    if {"--help", "-h"} & set(sys.argv[1:]):
        sys.stdout.write(help_text(config_name))
        raise SystemExit(0)
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises instead of printing, and explain() says what it means
    for noise in NOISE:
        warnings.filterwarnings("ignore", message=noise)
    processes.follow_parent()
    register_schemas()
    composition.install()
    main = hydra.main(version_base="1.3", config_path=str(CONFIG_DIR), config_name=config_name)(task)
    try:
        if any(each.startswith(RERUN) for each in sys.argv[1:]):
            raise ConfigError("--experimental-rerun is not served: it loads a pickle, which can run any program")
        prepare()
        main()
    except KeyboardInterrupt:
        hint = "; the same command with sweep.resume=true goes on" if config_name == "train" else ""
        sys.stderr.write(f"cpnet: interrupted{hint}\n")  # of a training's own process Ctrl-C makes something else
        raise SystemExit(130) from None
    except Exception as error:
        said = _said(error, config_name)
        if said is None and not processes.tell(traceback.format_exc()):
            raise
        if said is not None:
            log.debug("where it was raised", exc_info=error)  # hydra.verbose=true shows it
            message = f"cpnet: {printable(said)}\n"
            if not processes.tell(message):
                sys.stderr.write(message)
        raise SystemExit(1) from None


def _said(error: Exception, config_name: str) -> str | None:
    """Say what a mistake of the user's is, or None where it is ours."""
    if isinstance(error, USER_ERRORS):
        return explain(error, config_name)
    if isinstance(error, ValueError) and str(error).startswith("Config group override must be"):
        return "a group is chosen by a name, not by null; --help lists the names, such as logger=none"
    return _no_place(error) if isinstance(error, OSError) else None


def _no_place(error: OSError) -> str | None:
    """Say why the run's folder cannot be written into, or None where that is not what is wrong."""
    arguments = sys.argv[1:]
    resumed = _value(arguments, "resume_from")
    folder = Path(resumed or _value(arguments, "hydra.run.dir") or "outputs").expanduser().absolute()
    gone = (
        error.errno == errno.ENOENT and not folder.exists() and folder in Path(str(error.filename)).absolute().parents
    )
    full = error.errno in FULL and not error.filename  # as where Hydra writes into .hydra
    if not full and not gone and (error.errno not in NO_PLACE or not error.filename):
        return None
    hint = "that is where resume_from goes on" if resumed else "hydra.run.dir=FOLDER names another folder"
    return f"{error.filename or folder}: {error.strerror}; {hint}"


def help_text(config_name: str) -> str:
    """Say how a command is called, what its groups offer, and what its own keys are.

    Hydra's own help takes seconds to find the groups.
    """
    path = CONFIG_DIR / f"{config_name}.yaml"
    lines = path.read_text(encoding="utf-8").splitlines()
    usage = [line.removeprefix("# ") for line in itertools.takewhile(lambda line: line.startswith("#"), lines)]
    keys = [line for line in lines if re.match(r"\w+: [^$]", line)]  # with a value and mostly a remark
    defaults = [each for each in OmegaConf.load(path).defaults if isinstance(each, DictConfig)]
    groups = [str(key) for each in defaults for key in each if not str(key).startswith("override ")]
    groups += ["hydra/launcher", "hydra/sweeper"] if "experiment" in groups else []
    offered = []
    for group in groups:
        options = " | ".join(sorted(file.stem for file in (CONFIG_DIR / group).glob("*.yaml")))
        offered.append(textwrap.fill(f"{group}={options}", 100, initial_indent="  ", subsequent_indent="      "))
    return "\n".join(
        [
            *usage,
            *(["", "Groups:", *offered] if offered else []),
            *(["", "Keys:", *(f"  {key}" for key in keys)] if keys else []),
            *("", "Every key and its value: --cfg job. Hydra's own flags: --hydra-help", ""),
        ]
    )


def check_corpus(cfg: DictConfig, *, words_known: bool = False) -> None:
    """Make sure that the files of the dataset are there, unless it is one that we make.

    Raises:
        DataError: some are not
    """
    if not cfg.dataset.generate:
        dataset = OmegaConf.to_container(cfg.dataset, resolve=True, throw_on_missing=True)
        assert isinstance(dataset, dict)
        named = {str(key): value for key, value in dataset.items()}
        check_files(cfg.dataset.name, needed_files(named, words_known=words_known))


def offer_checkpoint(arguments: list[str]) -> None:
    """Store the configuration of the checkpoint that the command line names where ``conf/evaluate.yaml`` takes it.

    Raises:
        DataError: it names none, or something is wrong with it
    """
    path = _value(arguments, "checkpoint")
    if not path and not {"--hydra-help", "--version"} & set(arguments):
        raise DataError("which checkpoint? checkpoint=OUTPUT_FOLDER/checkpoints/best.ckpt, of a run of cpnet.train")
    taken: dict[str, object] = {}
    if path:
        from cpnet.checkpoint import load_checkpoint

        config = load_checkpoint(path).config
        taken = {key: config[key] for key in FROM_CHECKPOINT}
        taken["trainer"] = {"precision": config["trainer"]["precision"]}
    ConfigStore.instance().store(name="from_checkpoint", node=taken)


def name_of_config(arguments: list[str]) -> str:
    """Name the primary configuration of ``cpnet.train``: a run that goes on brings its own."""
    return "resume" if _value(arguments, "resume_from") or _value(arguments, "replay") else "train"


def offer_run(arguments: list[str]) -> None:
    """Store the configuration of the run that the command line names where ``conf/resume.yaml`` takes it.

    Raises:
        ConfigError: the command line names another folder for the run than that which it is to go on in
        DataError: the folder holds no run, or something is wrong with its checkpoints
    """
    folder, path = _value(arguments, "resume_from"), _value(arguments, "replay")
    if path:
        from cpnet.checkpoint import load_checkpoint

        ConfigStore.instance().store(name="from_run", node=load_checkpoint(path).config)
    elif folder:
        from cpnet.recovery import newest

        run = Path(folder).expanduser()
        found = newest(run)
        if found is None:
            raise DataError(f"resume_from={folder}: there is no checkpoint in {folder}/checkpoints to go on from")
        ConfigStore.instance().store(name="from_run", node=found.config | {"resume": True})
        if given := _value(arguments, "hydra.run.dir"):
            if Path(given).resolve() != run.resolve():
                raise ConfigError(
                    f"resume_from={folder} goes on in that folder, not in hydra.run.dir={given}; leave out the latter,"
                    " or copy the folder and go on from the copy"
                )
        else:
            # What the run was started with stays noted in .hydra.
            sys.argv += [f"hydra.run.dir={quoted(str(run))}", "hydra.output_subdir=null"]


def _value(arguments: list[str], key: str) -> str:
    """Give what the command line sets a key to, without quotes; empty where it does not."""
    values = [value for name, _, value in (argument.partition("=") for argument in arguments) if name == key]
    value = values[-1] if values else ""
    if value[:1] in ("'", '"'):
        with suppress(HydraException):  # Hydra will say what is wrong with it
            return str(OverridesParser.create().parse_override(f"{key}={value}").value())
    return value


def name_experiment() -> None:
    """Take ``experiment=NAME`` for a name, where Hydra looks for a file, and ``baseline=a=1, b=2`` for one text."""
    key, row = "experiment=", "baseline="
    for place, each in enumerate(sys.argv[1:], start=1):
        if each.startswith(key):
            sys.argv[place] = f"experiment_name={each.removeprefix(key)}"
        elif each.startswith(row) and "=" in (name := each.removeprefix(row)) and name[0] not in "'\"":
            sys.argv[place] = f"{row}{quoted(name)}"


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
