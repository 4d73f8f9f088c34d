"""Output folder of a run: its lock, its files, and the checkpoint to resume from."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from cpnet.errors import ConfigError, DataError, cut
from cpnet.files import replacing
from cpnet.locks import locked
from cpnet.runs import predictions, results
from cpnet.runs.checkpoint import KEY, read_checkpoint
from cpnet.runs.identity import OF_THE_START, flatten, is_below, may_change_on_resume

log = logging.getLogger(__name__)

CHECKPOINTS, BEST = "checkpoints", "best.ckpt"
NEXT, LAST, PREVIOUS = "next.ckpt", "last.ckpt", "previous.ckpt"  # newest first
CONFIG, METRICS = "config.yaml", "metrics.csv"
RESULTS = (results.FILE, predictions.FILE, predictions.SUBMISSION)
WRITTEN = (*RESULTS, METRICS, "wandb/run-id")


@dataclass(frozen=True)
class ResumePoint:
    """Checkpoint of an unfinished run: its file, the run's configuration, the epoch, counted from 0, and the step."""

    path: Path
    config: dict[str, Any]
    epoch: int
    step: int
    best: Path | None  # the best checkpoint so far; None before the first validation
    pairs: str | None  # hash of the pairs of train and val


def is_first_process() -> bool:
    """Return whether this process has rank 0, according to the environment variables of its launcher."""
    return int(os.environ.get("RANK", os.environ.get("SLURM_PROCID", 0))) == 0


@contextmanager
def locked_run(folder: Path) -> Iterator[None]:
    """Lock a run's folder on behalf of all its processes, and remove the temporary files of a killed run.

    Raises:
        ConfigError: another run has locked it
    """
    if not is_first_process():
        yield
        return
    with locked(folder):
        for name in (*WRITTEN, CONFIG, f"{CHECKPOINTS}/*.ckpt", *(f"test_*/{each}" for each in RESULTS)):
            for temporary in folder.glob(f"{name}.[0-9]*.tmp"):
                temporary.unlink(missing_ok=True)
        yield


def newest(folder: Path) -> ResumePoint | None:
    """Return the newest intact checkpoint of a run, None if it has no checkpoint.

    Raises:
        DataError: all of its checkpoints are damaged
    """
    errors = []
    for path in (folder / CHECKPOINTS / name for name in (NEXT, LAST, PREVIOUS)):
        if not path.is_file():
            continue
        try:
            content = read_checkpoint(path)
            if "loops" not in content:
                raise DataError(f"{path} has no training state; it can be evaluated but not resumed")
        except DataError as error:
            log.warning("%s; trying the previous checkpoint", error)
            errors.append(str(error))
        else:
            states = [state for state in content.get("callbacks", {}).values() if isinstance(state, dict)]
            best = next((path.with_name(BEST) for state in states if state.get("best_model_path")), None)
            ours = content[KEY]
            return ResumePoint(path, ours["config"], content["epoch"], content["global_step"], best, ours.get("pairs"))
    if errors:
        raise DataError("\n  ".join(["no intact checkpoint; rerun without resume to start over", *errors]))
    return None


def newest_best(root: Path) -> Path:
    """Return the best checkpoint of the newest run below a folder. Links to folders are not followed.

    Raises:
        DataError: there is none
    """
    found = [path for path in root.rglob(f"{CHECKPOINTS}/{BEST}") if path.is_file()]
    if not found:
        how = (
            "make demo (answers about video files), make train (about features), or python -m cpnet.train dataset=NAME"
        )
        raise DataError(f"no trained model below {root}/; set checkpoint=PATH, or train one: {how}")
    return max(found, key=lambda path: path.stat().st_mtime)


def chosen_checkpoint(checkpoint: str | None) -> Path:
    """Return the given checkpoint, or the best one of the newest run below ``outputs``; log which.

    Raises:
        DataError: none is given, and there is no run
    """
    path = Path(checkpoint or newest_best(Path("outputs")))
    log.info("model: %s%s", path, "" if checkpoint else ", of the newest run; checkpoint=PATH chooses another")
    return path


def checkpoint_to_resume(folder: Path, cfg: DictConfig) -> ResumePoint | None:
    """Return the newest intact checkpoint of a run, None without any. Log the options that ``cfg`` changes.

    Raises:
        ConfigError: ``cfg`` changes an option that a resumed run cannot change
        DataError: all of its checkpoints are damaged, or the best one
    """
    found = newest(folder)
    if found is None:
        return None
    before, now = flatten(found.config), flatten(OmegaConf.to_container(cfg, resolve=False))  # type: ignore[arg-type]
    changed = [key for key in sorted(before | now) if before.get(key) != now.get(key)]
    if changed := [key for key in changed if not is_below(key, OF_THE_START)]:
        if refused := [key for key in changed if not may_change_on_resume(key)]:
            shown = [cut(f"{key} ({before.get(key)} in the run, {now.get(key)} now)") for key in refused[:5]]
            raise ConfigError(
                f"a resumed run cannot change {', '.join(shown)}{', ...' if refused[5:] else ''}. Remove these "
                f"overrides, or train a new run with these weights: python -m cpnet.train init_from={found.path}"
            )
        log.warning("resuming with changed values of %s", ", ".join(changed))
    least = found.epoch + 1
    if (epochs := OmegaConf.select(cfg, "trainer.max_epochs", default=least)) < least:
        raise ConfigError(f"epochs={epochs}: the run is in epoch {least}; set epochs={least} or more")
    if found.best:  # the run ends by testing it, unless a later epoch is better
        try:
            read_checkpoint(found.best)
        except DataError as error:
            raise DataError(f"{error}\n  restore it, or train a new run: init_from={found.path}") from error
    log.info("resuming from %s, written in epoch %d after step %d", found.path, found.epoch + 1, found.step)
    return found


def clear(folder: Path, *, results_only: bool = False) -> None:
    """Remove all files of an earlier run, or only its results and predictions, on the first process."""
    if is_first_process():
        tests = [each for each in folder.glob("test_*") if results.run_folder(each) == folder]
        paths = [place / name for place in (folder, *tests) for name in RESULTS]
        if not results_only:
            paths += [*folder.glob(f"{CHECKPOINTS}/*.ckpt"), *(folder / name for name in WRITTEN)]
        for path in paths:
            path.unlink(missing_ok=True)


def save_config(cfg: DictConfig, folder: Path) -> None:
    """Write the resolved configuration, on the first process."""
    if is_first_process():
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(folder / CONFIG) as stream:
            stream.write(OmegaConf.to_yaml(cfg, resolve=True).encode())
