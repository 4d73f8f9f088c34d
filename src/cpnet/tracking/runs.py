"""A run of Weights & Biases a job: its logger, its beginning and its end."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import Logger, WandbLogger
from pytorch_lightning.utilities import rank_zero_only

from cpnet.config import ConfigError
from cpnet.data.atomic import replacing
from cpnet.interruption import Interrupted
from cpnet.tracking.predictions import tables_and_pictures

LONGEST_TAG = 64  # characters; W&B refuses a run with a longer one
STAGING = "WANDB_DATA_DIR"
# What is printed is in train.log, versions and commit are in results.json. Nobody needs the names of host and user, the
# program's path or the load of the machine.
SETTINGS: dict[str, Any] = {
    "console": "off",
    "quiet": True,
    "save_code": False,
    "disable_git": True,
    "host": "",
    "x_disable_meta": True,
    "x_disable_stats": True,
    "x_save_requirements": False,
}


class RunLogger(WandbLogger):
    """Lightning's logger, with what a run is given at its end.

    Args:
        predictions: the most rows of the table of predictions
        checkpoint: whether the chosen checkpoint becomes an artifact
        arguments: those of Lightning's logger, and of ``wandb.init``
    """

    def __init__(self, *, predictions: int, checkpoint: bool, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._wandb_init.pop("anonymous", None)  # Lightning passes it always, and W&B warns of it
        self.predictions, self.checkpoint = predictions, checkpoint


def wandb_logger(
    *,
    mode: str,
    folder: str,
    project: str,
    name: str,
    entity: str | None = None,
    group: str | None = None,
    tags: Sequence[str] = (),
    predictions: int = 100,
    checkpoint: bool = False,
) -> RunLogger:
    """Make a logger that writes into the run's folder, and to the service only with mode ``online``.

    Args:
        mode: offline or online
        folder: where ``wandb/`` is made
        project: the project of W&B
        name: the run's
        entity: user or team; None for the account's default
        group: runs that belong together, such as an experiment's
        tags: what runs are searched by; longer ones are cut to 64 characters
        predictions: the most rows of the table of predictions; 0 for none
        checkpoint: whether the chosen checkpoint becomes an artifact

    Raises:
        ValueError: an unknown mode, another number of rows than 0 or more, or wandb is not installed
    """
    if mode not in ("offline", "online"):
        raise ValueError(f"logger.wandb.mode must be one of offline, online; got {mode!r}")
    if type(predictions) is not int or predictions < 0:
        raise ValueError(f"logger.wandb.predictions must be a number of rows, 0 or more; got {predictions!r}")
    if type(checkpoint) is not bool:
        raise ValueError(f"logger.wandb.checkpoint must be true or false; got {checkpoint!r}")
    if mode == "offline":
        # W&B reports its own use to its makers, offline too, unless told before it is imported.
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    try:
        import wandb

        # Not Lightning's offline=True, which sets an environment variable for all later jobs of the process.
        return RunLogger(
            predictions=predictions,
            checkpoint=checkpoint,
            project=project,
            entity=entity,
            name=name,
            group=group,
            save_dir=folder,
            id=_run_id(Path(folder) / "wandb" / "run-id"),
            mode=mode,
            tags=list(dict.fromkeys(tag[:LONGEST_TAG] for tag in tags)),
            settings=wandb.Settings(**SETTINGS),
        )
    except ModuleNotFoundError as error:
        raise ValueError("logger=wandb needs wandb: pip install 'cpnet-grounding[wandb]'") from error


def _run_id(path: Path) -> str:
    """Give the id that the folder's run has had before, or a new one: a run that goes on is the same one for W&B."""
    if not path.is_file():
        _draw_run_id(path)
    return path.read_text(encoding="utf-8").strip() if path.is_file() else ""


@rank_zero_only
def _draw_run_id(path: Path) -> None:
    from wandb.sdk.lib.runid import generate_id

    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as stream:
        stream.write(generate_id().encode())


@contextmanager
def job(loggers: Sequence[Logger], config: Mapping[str, Any]) -> Iterator[None]:
    """Give W&B the run's configuration, and close its run at the end of a job: as failed where the job failed, as
    preempted where a signal ended it.

    Without this all jobs of a multirun would land in the first one's run.

    Raises:
        ConfigError: W&B does not start the run: no account, no connection, or a name that it refuses
    """
    ours = [logger for logger in loggers if isinstance(logger, WandbLogger)]
    for logger in ours:
        _start(logger, config)
    try:
        yield
    except Interrupted as interruption:
        for logger in ours:
            _mark_preempting(logger)
        _finish(ours, exit_code=128 + interruption.number)
        raise
    except BaseException:
        _finish(ours, exit_code=1)
        raise
    _finish(ours, exit_code=0)


@rank_zero_only
def log_results(loggers: Sequence[Logger], results: Mapping[str, Any], *, predictions: Path, checkpoint: Path) -> None:
    """Give W&B what the run came to: results in the summary, a table and pictures of predictions, the checkpoint.

    Args:
        loggers: the run's; those of ``wandb_logger`` are told
        results: what results.json holds
        predictions: the run's predictions.jsonl
        checkpoint: the file that was tested
    """
    for logger in loggers:
        if isinstance(logger, RunLogger):
            run = logger.experiment
            run.summary.update(flatten(results))
            with _staging(Path(str(logger.save_dir)) / "wandb"):
                run.log(tables_and_pictures(predictions, most=logger.predictions))
                if logger.checkpoint:
                    _log_checkpoint(run, checkpoint)


def flatten(results: Mapping[str, Any]) -> dict[str, Any]:
    """Give the content of results.json without levels, its metrics by the names that the test loop logs.

    >>> flatten({"metrics": {"mIoU": 50.0}, "protocol": {"split": "test"}, "seconds": {"fit": 2.5}, "git_commit": None})
    {'test/mIoU': 50.0, 'protocol/split': 'test', 'seconds/fit': 2.5}
    """
    split = results["protocol"]["split"]
    names = {"metrics": split, "reversed": f"{split}/reversed"}
    return dict(_leaves({names.get(key, key): value for key, value in results.items()}))


def _leaves(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}/")
        elif value is not None:
            yield f"{prefix}{key}", value


def _start(logger: WandbLogger, config: Mapping[str, Any]) -> None:
    import wandb

    try:
        logger.log_hyperparams(dict(config))
    except wandb.errors.Error as error:
        raise ConfigError(
            f"logger=wandb: {error}\n  The service needs an account and a connection: wandb login, or the environment"
            " variable WANDB_API_KEY. Without them: logger.wandb.mode=offline"
        ) from error


@rank_zero_only
def _mark_preempting(logger: WandbLogger) -> None:
    logger.experiment.mark_preempting()


@rank_zero_only
def _finish(loggers: Sequence[WandbLogger], *, exit_code: int) -> None:
    for logger in loggers:
        logger.experiment.finish(exit_code=exit_code)


@contextmanager
def _staging(folder: Path) -> Iterator[None]:
    """Keep what waits for the service beside the run, and not in the home directory, where nobody would delete it."""
    before = os.environ.get(STAGING)
    os.environ[STAGING] = before or str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ[STAGING]


def _log_checkpoint(run: Any, path: Path) -> None:
    import wandb

    artifact = wandb.Artifact(f"checkpoint-{run.id}", type="model")
    artifact.add_file(str(path), policy="immutable")  # not copied: it is not written again
    run.log_artifact(artifact, aliases=["best"])
