"""The command line: Hydra's, with errors that fit on a screen. Imports nothing heavy."""

from __future__ import annotations

import difflib
import itertools
import logging
import os
import re
import sys
import textwrap
import warnings
from collections.abc import Callable, Iterator

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException, ValidationError

from cpnet.config import CONFIG_DIR, ConfigError, register_schemas
from cpnet.data.files import check_files, needed_files
from cpnet.data.moment import DataError

FROM_CHECKPOINT = (
    *("dataset", "model", "model_name", "loss", "sampling", "metrics"),
    *("data_dir", "batch_size", "num_workers", "seed"),
)
log = logging.getLogger(__name__)

USER_ERRORS = (ConfigError, DataError, HydraException, OmegaConfBaseException)

# Lightning's remarks on matters that are settled here
NOISE = (
    r".*LeafSpec.*",
    r".*does not have many workers.*",
    r".*Experiment logs directory.*",
    r".*number of training batches.*smaller than the logging interval.*",
    r".*srun.*command is available.*",
    r".*torch\._prims_common\.check.*",
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
    register_schemas()
    main = hydra.main(version_base="1.3", config_path=str(CONFIG_DIR), config_name=config_name)(task)
    try:
        prepare()
        main()
    except USER_ERRORS as error:
        log.debug("where it was raised", exc_info=error)  # hydra.verbose=true shows it
        sys.stderr.write(f"cpnet: {explain(error, config_name)}\n")
        raise SystemExit(1) from None


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
    paths = [argument.partition("=")[2] for argument in arguments if argument.startswith("checkpoint=")]
    if not paths and not {"--hydra-help", "--version"} & set(arguments):
        raise DataError("which checkpoint? checkpoint=OUTPUT_FOLDER/checkpoints/best.ckpt, of a run of cpnet.train")
    taken: dict[str, object] = {}
    if paths:
        from cpnet.checkpoint import load_checkpoint

        config = load_checkpoint(paths[-1]).config
        taken = {key: config[key] for key in FROM_CHECKPOINT}
        taken["trainer"] = {"precision": config["trainer"]["precision"]}
    ConfigStore.instance().store(name="from_checkpoint", node=taken)


def name_experiment() -> None:
    """Take ``experiment=NAME`` for a name; Hydra takes it for a file of the group, which it is in ``cpnet.train``."""
    key = "experiment="
    sys.argv[1:] = [
        f"experiment_name={each.removeprefix(key)}" if each.startswith(key) else each for each in sys.argv[1:]
    ]


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
