"""Test pairs of a report, with the attention of its runs if that is asked for."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from omegaconf import OmegaConf

from cpnet.errors import ConfigError, DataError
from cpnet.reporting.explorer.pack import Attention, Bytes, Pack, pack, shown_runs, sorted_qids
from cpnet.reporting.figures.predictions import choose
from cpnet.reporting.gather import Run
from cpnet.reporting.tables import Report
from cpnet.runs.folder import BEST, CHECKPOINTS
from cpnet.runs.results import run_folder

TOLERANCE = 0.02  # mean difference of IoU from predictions.jsonl, which another precision may cause
MOST_CLIPS = 64  # of a curve of 500 pixels; six runs of 17,031 pairs stay below 15 MB

log = logging.getLogger(__name__)


def explore(report: Report, attention: int | str) -> list[Pack]:
    """Return the test pairs of each table.

    Args:
        report: tables of runs
        attention: number of pairs with the attention of the runs' checkpoints, or ``all``

    Raises:
        DataError: predictions.jsonl of a run has changed and cannot be read
    """
    if not attention:
        return [pack(table) for table in report.tables]
    pairs = None if attention == "all" else int(attention)
    return [pack(table, look([run for _, run in shown_runs(table)], pairs)) for table in report.tables]


def look(runs: Sequence[Run], pairs: int | None) -> list[Attention | str]:
    """Return the attention of runs of the same pairs, from the best checkpoint of each, or why a run has none.

    Args:
        runs: runs of one table
        pairs: number of pairs, at even steps of the first run's IoU; None for all
    """
    qids, iou = sorted_qids(runs[0]), runs[0].scores["mIoU"]
    chosen = sorted(choose(iou.tolist(), len(iou) if pairs is None else pairs))
    return [_look(run, qids, chosen) for run in runs]


def _look(run: Run, qids: Sequence[str], chosen: Sequence[int]) -> Attention | str:
    try:
        return _attention(run, qids, chosen)
    except (ConfigError, DataError, OSError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        log.warning("%s has no attention: %s", run.folder, reason)
        return reason


def _attention(run: Run, qids: Sequence[str], chosen: Sequence[int]) -> Attention:
    """Return the attention of a run on the chosen pairs.

    Raises:
        ConfigError, DataError, OSError: the model has none, or checkpoint, corpus or features cannot be read
    """
    from cpnet.inspection.observe import open_models  # imports torch

    checkpoint = run_folder(run.folder) / CHECKPOINTS / BEST
    if not checkpoint.is_file():
        raise DataError(f"{CHECKPOINTS}/{BEST} is missing")
    wanted = {"checkpoint": str(checkpoint), "against": None, "split": run.results.protocol.split}
    _, (observer, *_) = open_models(OmegaConf.create({**run.config, **wanted}))
    rows = {moment.qid: row for row, moment in enumerate(observer.dataset.moments)}
    known = {place: rows[qids[place]] for place in chosen if qids[place] in rows}  # others have no features
    observed = observer.observe([*known.values()], weigh_words=True)
    differences = [(observed[row].iou or 0) - run.scores["mIoU"][place] for place, row in known.items()]
    if known and np.mean(np.abs(differences)) > TOLERANCE:
        raise DataError(
            f"{observer.name} predicts other spans than predictions.jsonl has; use the features that it was tested on"
        )
    seen = [observed[row] for row in known.values()]
    if not seen or not seen[0].attention.size:
        raise DataError(f"{observer.name} has no attention over time")
    has_words = bool(seen[0].weights.size)
    return Attention(
        pairs=[*known],
        clips=[_bytes(_pooled(each.attention)) for each in seen],
        words=[observer.words(row) for row in known.values()] if has_words else (),
        weights=[_bytes(each.weights) for each in seen] if has_words else (),
    )


def _pooled(attention: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the highest weights of at most 64 parts of the video, relative to the highest of all."""
    parts = min(MOST_CLIPS, len(attention))
    highest: NDArray[np.floating] = np.maximum.reduceat(attention, np.arange(parts) * len(attention) // parts)
    highest /= highest.max()
    return highest


def _bytes(shares: NDArray[np.floating]) -> Bytes:
    """Return shares in [0, 1] as whole numbers from 0 to 255."""
    whole: Bytes = np.rint(255 * np.clip(shares, 0, 1)).astype(np.uint8)
    return whole
