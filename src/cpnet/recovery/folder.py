"""A run's folder: one run at a time, begun anew or gone on with."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.utilities import rank_zero_only

from cpnet.checkpoint import read_checkpoint
from cpnet.data.moment import DataError
from cpnet.locks import held
from cpnet.recovery.saving import LAST, NEXT, PREVIOUS

log = logging.getLogger(__name__)

STATED = ("results.json", "predictions.jsonl")
OF_A_RUN = (*STATED, "metrics.csv", "non_finite.ckpt", "wandb/run-id")
UNTELLING = ("resume", "resume_from", "replay", "sweep", "output_dir", "run_name", "experiment_name", "model_name")


@dataclass(frozen=True)
class Resumable:
    """A checkpoint that a run can go on from: its file, the run's configuration, the epoch, from 0, and the step."""

    path: Path
    config: dict[str, Any]
    epoch: int
    step: int


def is_first_process() -> bool:
    """Whether this is the process of a run that writes, by what its launcher has set."""
    rank: int = rank_zero_only.rank  # type: ignore[attr-defined]
    return rank == 0


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Hold a run's folder, which the first of its processes does for all.

    Raises:
        ConfigError: another run holds it
    """
    if not is_first_process():
        yield
        return
    with held(folder):
        for name in (*OF_A_RUN, "config.yaml", "composed.yaml", "checkpoints/*.ckpt"):
            for part in folder.glob(f"{name}.[0-9]*.tmp"):  # of a file that a run was writing when it was killed
                part.unlink(missing_ok=True)
        yield


def newest(folder: Path) -> Resumable | None:
    """Choose the newest whole checkpoint of a run, None where it has none.

    Raises:
        DataError: all of its checkpoints are damaged
    """
    errors = []
    for path in (folder / "checkpoints" / name for name in (NEXT, LAST, PREVIOUS)):
        if not path.is_file():
            continue
        try:
            content = read_checkpoint(path)
            if "loops" not in content:
                raise DataError(f"{path} is of an older format: it can be evaluated, not gone on with")
        except DataError as error:
            log.warning("%s; the one before it serves, if there is one", error)
            errors.append(str(error))
        else:
            return Resumable(path, content["cpnet"]["config"], content["epoch"], content["global_step"])
    if errors:
        raise DataError("\n  ".join(["no checkpoint to go on from; without resume the run begins anew", *errors]))
    return None


def checkpoint_to_go_on_from(folder: Path, cfg: DictConfig) -> Path | None:
    """Choose the newest whole checkpoint of a run, None where it has none; say what has changed since.

    Args:
        folder: the run's
        cfg: the configuration that it is to go on with

    Raises:
        DataError: all of its checkpoints are damaged
    """
    found = newest(folder)
    if found is None:
        return None
    now: Any = OmegaConf.to_container(cfg, resolve=False)
    if changed := sorted(_differing(found.config, now)):
        log.warning("the run goes on with other values of %s", ", ".join(changed))
    log.info("the run goes on from %s, written in epoch %d after step %d", found.path, found.epoch + 1, found.step)
    return found.path


@rank_zero_only
def begin(folder: Path) -> None:
    """Remove what an earlier run left in the folder: a later one must not take it for its own."""
    for path in (*(folder / "checkpoints").glob("*.ckpt"), *(folder / name for name in OF_A_RUN)):
        path.unlink(missing_ok=True)


@rank_zero_only
def withdraw(folder: Path) -> None:
    """Remove what the run has stated of its end, which it will state again: its configuration may now be another."""
    for name in STATED:
        (folder / name).unlink(missing_ok=True)


def _differing(before: Mapping[str, Any], now: Mapping[str, Any]) -> set[str]:
    first, second = dict(_leaves(before)), dict(_leaves(now))
    absent = object()
    return {key for key in first | second if first.get(key, absent) != second.get(key, absent)}


def _leaves(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        name = f"{prefix}{key}"
        if name in UNTELLING:
            continue
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{name}.")
        else:
            yield name, list(value) if isinstance(value, tuple) else value
