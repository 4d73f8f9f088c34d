"""Weights & Biases: the only file that knows it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from pytorch_lightning.loggers import Logger, WandbLogger
from pytorch_lightning.utilities import rank_zero_only


def wandb_logger(*, mode: str, folder: str, project: str, name: str, tags: Sequence[str]) -> WandbLogger:
    """Make a logger that writes into the run's folder, and to the service only with mode ``online``.

    Raises:
        ValueError: an unknown mode
    """
    if mode not in ("offline", "online"):
        raise ValueError(f"logger.wandb.mode must be one of offline, online; got {mode!r}")
    try:
        # Not Lightning's offline=True, which sets an environment variable for all later jobs of the process.
        return WandbLogger(project=project, name=name, save_dir=folder, mode=mode, tags=list(tags))
    except ModuleNotFoundError as error:
        raise ValueError("logger=wandb needs wandb: pip install 'cpnet-grounding[wandb]'") from error


@contextmanager
def job(loggers: Sequence[Logger], config: Mapping[str, Any]) -> Iterator[None]:
    """Give W&B the run's configuration, and close its run at the end of a job, as failed where the job failed.

    Without this all jobs of a multirun would land in the first one's run.
    """
    ours = [logger for logger in loggers if isinstance(logger, WandbLogger)]
    for logger in ours:
        logger.log_hyperparams(dict(config))
    try:
        yield
    except BaseException:
        _finish(ours, exit_code=1)
        raise
    _finish(ours, exit_code=0)


@rank_zero_only
def _finish(loggers: Sequence[WandbLogger], *, exit_code: int) -> None:
    for logger in loggers:
        logger.experiment.finish(exit_code=exit_code)
