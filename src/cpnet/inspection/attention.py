"""Attention of finished runs on their test pairs, for the explorer of a report."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
from omegaconf import OmegaConf

from cpnet.errors import ConfigError, DataError
from cpnet.inspection.observe import Floats, Observed, Observer, open_models
from cpnet.reporting.explorer.pack import Attention, Bytes, sorted_qids
from cpnet.reporting.figures.predictions import choose
from cpnet.reporting.gather import Run
from cpnet.runs.folder import BEST, CHECKPOINTS
from cpnet.terminal import track

TOLERANCE = 0.02  # mean difference of IoU from predictions.jsonl, which another precision may cause
MOST_CLIPS = 64  # of a curve of 500 pixels; six runs of 17,031 pairs stay below 15 MB

log = logging.getLogger(__name__)


def look(runs: Sequence[Run], pairs: int | None) -> list[Attention | str]:
    """Return the attention of runs of the same pairs, from the best checkpoint of each, or why a run has none.

    Args:
        runs: runs of one table
        pairs: number of pairs, at even steps of the first run's IoU; None for all
    """
    qids, iou = sorted_qids(runs[0]), runs[0].scores["mIoU"]
    chosen = sorted(choose(iou.tolist(), len(iou) if pairs is None else pairs))
    found = [_look(run, qids, chosen) for run in runs]
    for run, looks in zip(runs, found, strict=True):
        if isinstance(looks, str):
            log.warning("%s has no attention: %s", run.folder, looks)
    return found


def _look(run: Run, qids: Sequence[str], chosen: Sequence[int]) -> Attention | str:
    try:
        return _attention(run, qids, chosen)
    except (ConfigError, DataError, OSError) as error:
        return next(iter(str(error).splitlines()), type(error).__name__)


def _attention(run: Run, qids: Sequence[str], chosen: Sequence[int]) -> Attention | str:
    """Return the attention of a run on the chosen pairs, or what it lacks.

    Raises:
        ConfigError, DataError, OSError: the checkpoint, the corpus or its features cannot be read
    """
    checkpoint = run.folder / CHECKPOINTS / BEST
    if not checkpoint.is_file():
        return f"{CHECKPOINTS}/{BEST} is missing"
    wanted = {"checkpoint": str(checkpoint), "against": None, "split": run.results.protocol.split}
    _, (observer, *_) = open_models(OmegaConf.create({**run.config, **wanted}))
    rows = {moment.qid: row for row, moment in enumerate(observer.dataset.moments)}
    known = [place for place in chosen if qids[place] in rows]  # others have no features
    chosen_rows = [rows[qids[place]] for place in known]
    observed = observer.observe(chosen_rows, track, weigh_words=True)
    differences = [
        (observed[row].iou or 0) - run.scores["mIoU"][place] for row, place in zip(chosen_rows, known, strict=True)
    ]
    if known and np.mean(np.abs(differences)) > TOLERANCE:
        return (
            f"{observer.name} predicts other spans than predictions.jsonl has; use the features that it was tested on"
        )
    return _quantised(observer, known, chosen_rows, observed)


def _quantised(
    observer: Observer, places: Sequence[int], rows: Sequence[int], observed: dict[int, Observed]
) -> Attention | str:
    if not rows or not observed[rows[0]].attention.size:
        return f"{observer.name} has no attention over time"
    has_words = bool(observed[rows[0]].weights.size)
    return Attention(
        pairs=places,
        clips=[_bytes(_pooled(observed[row].attention)) for row in rows],
        words=[observer.words(row) for row in rows] if has_words else (),
        weights=[_bytes(observed[row].weights) for row in rows] if has_words else (),
    )


def _pooled(attention: Floats) -> Floats:
    """Return the highest weights of at most 64 parts of the video, relative to the highest of all."""
    parts = min(MOST_CLIPS, len(attention))
    highest: Floats = np.maximum.reduceat(attention, np.arange(parts) * len(attention) // parts)
    highest /= highest.max()
    return highest


def _bytes(shares: Floats) -> Bytes:
    """Return shares in [0, 1] as whole numbers from 0 to 255."""
    return np.rint(255 * np.clip(shares, 0, 1)).astype(np.uint8)
