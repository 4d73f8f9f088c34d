"""One Weights & Biases run per job: its logger, start, results and end."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import Logger, WandbLogger
from pytorch_lightning.utilities import rank_zero_only

from cpnet.errors import ConfigError
from cpnet.files import replacing
from cpnet.launch.signals import Interrupted
from cpnet.runs.identity import flatten
from cpnet.runs.predictions import PredictionRow, Span, read_predictions
from cpnet.runs.results import Results

MAX_TAG = 64  # characters; W&B rejects longer tags
STAGING = "WANDB_DATA_DIR"
# Not logged, because train.log has the printed text and results.json the versions and the commit, or because it is
# private: names of host and user, the program's path and the machine's load.
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
TIMES = ("duration", "true start", "true end", "predicted start", "predicted end")
COLUMNS = ("query", "video", *TIMES, "IoU", "timeline")


class RunLogger(WandbLogger):
    """Lightning logger of one W&B run, which writes into a folder and, with mode ``online``, to the service.

    Args:
        mode: ``offline`` or ``online``
        folder: parent folder of the run's ``wandb/``
        project: project of W&B
        name: name of the run
        entity: user or team; None for the account's default
        group: name shared by related runs, such as an experiment's
        tags: search terms; longer ones are truncated to 64 characters
        predictions: maximum number of rows in the table of predictions; 0 for no table
        checkpoint: whether to log the tested checkpoint as an artifact

    Raises:
        ValueError: an argument is invalid, or wandb is not installed
    """

    def __init__(
        self,
        *,
        mode: str,
        folder: str,
        project: str,
        name: str,
        entity: str | None,
        group: str | None,
        tags: Sequence[str],
        predictions: int,
        checkpoint: bool,
    ) -> None:
        if mode not in ("offline", "online"):
            raise ValueError(f"logger.wandb.mode must be one of offline, online; got {mode!r}")
        if type(predictions) is not int or predictions < 0:
            raise ValueError(f"logger.wandb.predictions must be a number of rows, 0 or more; got {predictions!r}")
        if type(checkpoint) is not bool:
            raise ValueError(f"logger.wandb.checkpoint must be true or false; got {checkpoint!r}")
        if mode == "offline":
            # W&B sends its own errors to its developers, even offline, unless this is set before the import.
            os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        try:
            import wandb

            # Not Lightning's offline=True, which sets an environment variable for all later jobs of the process.
            super().__init__(
                project=project,
                entity=entity,
                name=name,
                group=group,
                save_dir=folder,
                id=_run_id(Path(folder) / "wandb" / "run-id"),
                mode=mode,
                tags=list(dict.fromkeys(tag[:MAX_TAG] for tag in tags)),
                settings=wandb.Settings(**SETTINGS),
            )
        except ModuleNotFoundError as error:
            raise ValueError("logger=wandb needs wandb: pip install 'cpnet-grounding[wandb]'") from error
        self._wandb_init.pop("anonymous", None)  # Lightning always passes it, and W&B warns about it
        self.predictions, self.checkpoint = predictions, checkpoint

    @rank_zero_only
    def start(self, config: Mapping[str, Any]) -> None:
        """Start the run and log the configuration.

        Raises:
            ConfigError: W&B does not start the run
        """
        import wandb

        try:
            self.log_hyperparams(dict(config))
        except wandb.errors.Error as error:
            raise ConfigError(
                f"logger=wandb: {error}\n  The service needs an account and a connection: run wandb login, or set the"
                " environment variable WANDB_API_KEY. To log without them, set logger.wandb.mode=offline"
            ) from error

    @rank_zero_only
    def finish(self, exit_code: int, *, preempted: bool) -> None:
        """End the run with the exit code of its job; ``preempted`` marks a run that can be resumed."""
        if preempted:
            self.experiment.mark_preempting()
        self.experiment.finish(exit_code=exit_code)


def _run_id(path: Path) -> str:
    """Return the run id stored in a file, so that a resumed run keeps it. Rank 0 creates a missing file."""
    if not path.is_file():
        _create_run_id(path)
    return path.read_text(encoding="utf-8") if path.is_file() else ""


@rank_zero_only
def _create_run_id(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as stream:
        stream.write(secrets.token_hex(4).encode())


@contextmanager
def job(loggers: Sequence[Logger], config: Mapping[str, Any]) -> Iterator[None]:
    """Start the W&B run of a job, and end it when the job ends: finished, failed, or preempted by a signal.

    Every job of a multirun has its own run.

    Raises:
        ConfigError: W&B does not start the run: no account, no connection, or an invalid name
    """
    runs = [logger for logger in loggers if isinstance(logger, RunLogger)]
    for run in runs:
        run.start(config)
    exit_code, preempted = 1, False
    try:
        yield
        exit_code = 0
    except Interrupted as interruption:
        exit_code, preempted = 128 + interruption.number, True
        raise
    finally:
        for run in runs:
            run.finish(exit_code, preempted=preempted)


@rank_zero_only
def log_results(
    loggers: Sequence[Logger], results: Results, *others: Results, predictions: Path, checkpoint: Path
) -> None:
    """Log results as the summary of the W&B run, and add tables and pictures of predictions, and the checkpoint.

    ``others`` are of further test splits, of which the summary gains the metrics. ``predictions`` is predictions.jsonl,
    ``checkpoint`` the tested one. Loggers other than ``RunLogger`` are ignored.
    """
    for logger in loggers:
        if isinstance(logger, RunLogger):
            import wandb

            run = logger.experiment
            for each in others:
                run.summary.update({f"{each.protocol.split}/{key}": value for key, value in each.metrics.items()})
            run.summary.update(summary(results))
            with _staging(Path(str(logger.save_dir)) / "wandb"):
                rows = [row for row in read_predictions(predictions) if row.predicted]
                run.log(_tables_and_pictures(rows, most=logger.predictions))
                if logger.checkpoint:
                    artifact = wandb.Artifact(f"checkpoint-{run.id}", type="model")
                    artifact.add_file(str(checkpoint), policy="immutable")  # not copied, because it does not change
                    run.log_artifact(artifact, aliases=["best"])


def summary(results: Results) -> dict[str, Any]:
    """Flatten results to keys such as ``seconds/fit``; metrics have the keys that the test loop logs, ``test/mIoU``."""
    content = asdict(results)
    del content["breakdown"]  # hundreds of numbers, which nobody compares in a table of runs
    content["protocol"]["selection"] = results.protocol.selection.value  # W&B would log the name of an enum
    content[results.protocol.split] = {**content.pop("metrics"), "reversed": content.pop("reversed")}
    return {key: value for key, value in flatten(content, separator="/").items() if value not in (None, {})}


def _tables_and_pictures(rows: Sequence[PredictionRow], *, most: int) -> dict[str, Any]:
    """Return tables and pictures; of several true windows, a row's times are of the one that its IoU is measured by."""
    import wandb

    from cpnet.reporting.figures.predictions import (  # imports matplotlib
        BINS,
        best_window,
        choose,
        count_lengths,
        draw_lengths,
        draw_timeline,
    )

    if not all(row.true for row in rows):
        return {}
    windows = [best_window(row.true, row.predicted[0]) for row in rows]
    shown = [
        (_fractions(window, row.duration), _fractions(row.predicted[0], row.duration))
        for window, row in zip(windows, rows, strict=True)
    ]
    counts = count_lengths(shown)
    logged = {
        "length_confusion": wandb.Image(draw_lengths(counts)),
        "length_confusion_table": wandb.Table(
            columns=["true length", *BINS], data=[[name, *line] for name, line in zip(BINS, counts, strict=True)]
        ),
    }
    data: list[list[Any]] = []
    ious = [row.iou or 0.0 for row in rows]
    for index in choose(ious, most):
        row, span = rows[index], rows[index].predicted[0]
        timeline = draw_timeline(row.query, row.video, row.duration, true=row.true, predicted=span)
        times = [round(time, 2) for time in (row.duration, *windows[index], *span)]
        data.append([row.query, row.video, *times, round(ious[index], 4), wandb.Image(timeline)])
    if data:
        logged["predictions"] = wandb.Table(columns=list(COLUMNS), data=data)
    return logged


def _fractions(span_sec: Span, duration_sec: float) -> Span:
    return span_sec[0] / duration_sec, span_sec[1] / duration_sec


@contextmanager
def _staging(folder: Path) -> Iterator[None]:
    """Make W&B store files to be uploaded in the run's folder instead of the home directory."""
    before = os.environ.get(STAGING)
    os.environ[STAGING] = before or str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ[STAGING]
