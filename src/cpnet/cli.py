"""The command line: Hydra's, with errors that fit on a screen. Imports nothing heavy."""

from __future__ import annotations

import itertools
import logging
import os
import re
import sys
import textwrap
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf

from cpnet import mistakes, processes
from cpnet.config import CONFIG_DIR, ConfigError, composition, given, quoted, register_schemas
from cpnet.config.groups import TrainerConfig
from cpnet.data.files import check_files, needed_files
from cpnet.data.moment import DataError
from cpnet.locks import check_links
from cpnet.printing import PrintableRecord, printable

FROM_CHECKPOINT = (
    *("dataset", "model", "model_name", "loss", "sampling", "metrics"),
    *("data_dir", "batch_size", "num_workers", "seed"),
)
log = logging.getLogger(__name__)

RERUN = "--e"  # --experimental-rerun, also cut short; no other flag begins so

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
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises instead of printing, and mistakes says what it means
    for noise in NOISE:
        warnings.filterwarnings("ignore", message=noise)
    logging.setLogRecordFactory(PrintableRecord)
    processes.follow_parent()
    register_schemas()
    composition.install()
    main = hydra.main(version_base="1.3", config_path=str(CONFIG_DIR), config_name=config_name)(task)
    with processes.leaving():
        _call(main, prepare, config_name)


def _call(main: Callable[[], object], prepare: Callable[[], None], config_name: str) -> None:
    try:
        if any(each.startswith(RERUN) for each in sys.argv[1:]):
            raise ConfigError("--experimental-rerun is not served: it loads a pickle, which can run any program")
        for key in ("resume_from", "hydra.run.dir", "hydra.sweep.dir"):  # before Hydra writes there
            if folder := given(sys.argv[1:], key):
                check_links(Path(folder).expanduser())
        prepare()
        main()
    except KeyboardInterrupt:
        hint = "; the same command with sweep.resume=true goes on" if config_name == "train" else ""
        sys.stderr.write(f"cpnet: interrupted{hint}\n")  # of a training's own process Ctrl-C makes something else
        raise SystemExit(130) from None
    except Exception as error:
        said = mistakes.said(error, config_name)
        if said is None and not processes.tell(traceback.format_exc()):
            raise
        if said is not None:
            log.debug("where it was raised", exc_info=error)  # hydra.verbose=true shows it
            message = f"cpnet: {printable(said)}\n"
            if not processes.tell(message):
                sys.stderr.write(message)
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
    path = given(arguments, "checkpoint")
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
    return "resume" if given(arguments, "resume_from") or given(arguments, "replay") else "train"


def offer_run(arguments: list[str]) -> None:
    """Store the configuration of the run that the command line names where ``conf/resume.yaml`` takes it.

    Raises:
        ConfigError: the command line names another folder for the run than that which it is to go on in
        DataError: the folder holds no run, or something is wrong with its checkpoints
    """
    folder, path = given(arguments, "resume_from"), given(arguments, "replay")
    if path:
        from cpnet.checkpoint import load_checkpoint

        ConfigStore.instance().store(name="from_run", node=_with_own_cache(load_checkpoint(path).config))
    elif folder:
        from cpnet.recovery import newest

        run = Path(folder).expanduser()
        found = newest(run)
        if found is None:
            raise DataError(f"resume_from={folder}: there is no checkpoint in {folder}/checkpoints to go on from")
        ConfigStore.instance().store(name="from_run", node=_with_own_cache(found.config) | {"resume": True})
        if named := given(arguments, "hydra.run.dir"):
            if Path(named).resolve() != run.resolve():
                raise ConfigError(
                    f"resume_from={folder} goes on in that folder, not in hydra.run.dir={named}; leave out the latter,"
                    " or copy the folder and go on from the copy"
                )
        else:
            # What the run was started with stays noted in .hydra. Before flags: argparse takes no override behind them.
            sys.argv[1:1] = [f"hydra.run.dir={quoted(str(run))}", "hydra.output_subdir=null"]


def _with_own_cache(config: dict[str, Any]) -> dict[str, Any]:
    """Leave out where a run's compiled programs lie: from a folder that somebody else names none is loaded."""
    trainer = dict(config.get("trainer", {}))
    return config | {"trainer": trainer | {"compile_cache": TrainerConfig.compile_cache}}


def name_experiment() -> None:
    """Take ``experiment=NAME`` for a name, where Hydra looks for a file, and ``baseline=a=1, b=2`` for one text."""
    key, row = "experiment=", "baseline="
    for place, each in enumerate(sys.argv[1:], start=1):
        if each.startswith(key):
            sys.argv[place] = f"experiment_name={each.removeprefix(key)}"
        elif each.startswith(row) and "=" in (name := each.removeprefix(row)) and name[0] not in "'\"":
            sys.argv[place] = f"{row}{quoted(name)}"
