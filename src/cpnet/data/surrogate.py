"""Surrogate features of Charades: scores of its 157 actions, as a mediocre classifier of clips would give them.

The public packs of video features are tens of gigabytes. These come from Charades' own human annotations, in seconds:
the true intervals of a video's actions, and on top of them missed and false detections, blurred boundaries and noise
that lasts. Results on them compare models with each other, not with the table of any paper.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from cpnet.data.atomic import replacing
from cpnet.data.moment import DataError
from cpnet.data.progress import Progress, silent
from cpnet.data.readers.checks import as_positive, parse_number, read_text

CLASSES = 157
MISSED = 0.15  # share of the actions that the classifier does not see
JITTER_SEC = 0.4  # standard deviation of a boundary
BLUR_SEC = 0.7  # over which a classifier of clips smears a boundary
FALSE_ALARMS = 4  # of a video, on average
FALSE_ALARM_SEC = 6.0  # their mean length
NOISE, MEMORY_SEC = 0.8, 1.5  # the noise's standard deviation, and how long it takes to forget itself
BIAS = 0.5  # standard deviation of what a class gets in a whole video


@dataclass(frozen=True)
class ActionsOfVideo:
    """What happens in a video: ``(class, start, end)`` of each action, in seconds."""

    video: str
    duration_sec: float
    actions: tuple[tuple[int, float, float], ...]


def write_action_scores(
    path: Path, tables: Sequence[Path | str], *, rate: float = 3.0, seed: int = 0, progress: Progress = silent
) -> int:
    """Write the scores of all videos as HDF5, a dataset a video, float16 of shape (N, 157); return how many.

    Row i covers the seconds [i / rate, (i + 1) / rate). A video's scores depend on the seed and its id alone.

    Args:
        path: the file
        tables: ``Charades_v1_train.csv`` and ``_test.csv``
        rate: rows a second
        seed: of the classifier's errors
        progress: wraps the ids of the videos

    Raises:
        DataError: a table cannot be read or a value is malformed
    """
    videos = {each.video: each for table in tables for each in read_actions(table)}
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as stream, h5py.File(stream.name, "w") as file:
        file.attrs.update(rate=rate, seed=seed, classes=CLASSES)
        for video in progress([*videos], "scores of actions"):
            digest = hashlib.sha256(f"{seed}/{video}".encode()).digest()
            rng = np.random.default_rng(int.from_bytes(digest[:8], "little"))
            file.create_dataset(video, data=draw_scores(videos[video], rate=rate, rng=rng).astype(np.float16))
    return len(videos)


def read_actions(path: Path | str) -> list[ActionsOfVideo]:
    """Read ``Charades_v1_*.csv``: ``id``, ``length``, ``actions`` such as ``c092 11.90 21.20;c147 0.00 12.60``.

    Raises:
        DataError: it cannot be read, or a value is malformed
    """
    rows = csv.DictReader(io.StringIO(read_text(path), newline=""), strict=True)
    try:
        if not {"id", "length", "actions"} <= set(rows.fieldnames or ()):
            raise DataError(
                f"{path}: the columns 'id', 'length' and 'actions' are needed, found {rows.fieldnames}; "
                "is this Charades' own csv file?"
            )
        return [_read_row(row, f"{path}: line {rows.line_num}") for row in rows]
    except csv.Error as error:
        raise DataError(
            f"{path}: line {rows.reader.line_num}: not valid csv ({error}); download the file again"
        ) from error


def _read_row(row: dict[str, str], where: str) -> ActionsOfVideo:
    actions = []
    for text in filter(None, (row["actions"] or "").split(";")):
        name, *times = text.split()
        if len(times) != 2 or name[:1] != "c" or not name[1:].isdecimal() or int(name[1:]) >= CLASSES:
            raise DataError(f"{where}: expected an action such as 'c092 11.90 21.20', found {text!r}; correct it")
        start, end = (parse_number(time, "time", where) for time in times)
        actions.append((int(name[1:]), start, end))
    duration_sec = as_positive(parse_number(row["length"] or "", "length", where), "length", where)
    return ActionsOfVideo(row["id"], duration_sec, tuple(actions))


def draw_scores(video: ActionsOfVideo, *, rate: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw the logits of a classifier that errs. Shape: (N, 157)"""
    rows = max(2, int(np.ceil(video.duration_sec * rate)))
    centres = ((np.arange(rows) + 0.5) / rate).astype(np.float64)
    evidence = np.zeros((rows, CLASSES), np.float32)

    def fire(label: int, start: float, end: float, strength: float) -> None:
        rise, fall = (_sigmoid((centres - edge) / (BLUR_SEC / 4)) for edge in (start, end))
        np.maximum(evidence[:, label], strength * (rise - fall), out=evidence[:, label])

    for label, start, end in video.actions:
        strength = 0.0 if rng.random() < MISSED else rng.lognormal(mean=1.0, sigma=0.4)
        early, late = rng.normal(0, JITTER_SEC, size=2)
        fire(label, start + early, end + late, strength)
    for _ in range(rng.poisson(FALSE_ALARMS)):
        length = rng.exponential(FALSE_ALARM_SEC)
        start = rng.uniform(-length, video.duration_sec)
        fire(int(rng.integers(CLASSES)), start, start + length, rng.lognormal(mean=0.7, sigma=0.4))

    kept = np.exp(-1 / (rate * MEMORY_SEC))
    noise = rng.normal(size=(rows, CLASSES)).astype(np.float32)
    for row in range(1, rows):
        noise[row] = kept * noise[row - 1] + np.sqrt(1 - kept**2) * noise[row]
    bias = rng.normal(0, BIAS, size=CLASSES)
    return np.asarray(evidence + NOISE * noise + bias)


def _sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-np.clip(x, -30, 30))))
