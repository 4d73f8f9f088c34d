"""Surrogate features of Charades: scores of its 157 actions, as an imperfect classifier of clips would predict them.

The public feature packs are tens of gigabytes. These scores are made in seconds from Charades' own human annotations:
the true intervals of a video's actions, with missed and false detections, blurred boundaries and correlated noise.
Use them to compare models with each other, not with published results.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from cpnet.data.readers.checks import as_positive, parse_number
from cpnet.data.readers.tables import read_table
from cpnet.errors import DataError, shown
from cpnet.files import replacing
from cpnet.terminal import track

CLASSES = 157
MISSED = 0.15  # share of the actions that the classifier misses
JITTER_SEC = 0.4  # standard deviation of a boundary
BLUR_SEC = 0.7  # width of a boundary, because a classifier sees clips
FALSE_ALARMS = 4  # mean number per video
FALSE_ALARM_SEC = 6.0  # their mean length
NOISE, MEMORY_SEC = 0.8, 1.5  # standard deviation of the noise, and its correlation time
BIAS = 0.5  # standard deviation of the constant added to each class of a video


@dataclass(frozen=True)
class ActionsOfVideo:
    """The actions of a video as ``(class, start, end)``, in seconds."""

    video: str
    duration_sec: float
    actions: tuple[tuple[int, float, float], ...]


def write_action_scores(path: Path, tables: Sequence[Path | str], *, rate: float = 3.0, seed: int = 0) -> int:
    """Write the scores of all videos as HDF5, one float16 dataset (N, 157) per video; return the number of videos.

    ``tables`` are ``Charades_v1_train.csv`` and ``Charades_v1_test.csv``. With ``rate`` rows per second, row i covers
    the seconds [i / rate, (i + 1) / rate). The scores of a video depend only on the seed and its id.

    Raises:
        DataError: a table cannot be read, or a value is malformed
    """
    videos = {each.video: each for table in tables for each in read_actions(table)}
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as stream, h5py.File(stream.name, "w") as file:
        file.attrs.update(rate=rate, seed=seed, classes=CLASSES)
        for video in track([*videos], "scores of actions"):
            digest = hashlib.sha256(f"{seed}/{video}".encode()).digest()
            rng = np.random.default_rng(int.from_bytes(digest[:8], "little"))
            file.create_dataset(video, data=draw_scores(videos[video], rate=rate, rng=rng).astype(np.float16))
    return len(videos)


def read_actions(path: Path | str) -> list[ActionsOfVideo]:
    """Read ``Charades_v1_*.csv``: ``id``, ``length``, ``actions`` such as ``c092 11.90 21.20;c147 0.00 12.60``.

    Raises:
        DataError: the file cannot be read, or a value is malformed
    """
    return [_read_row(row, where) for where, row in read_table(path, "id", "length", "actions")]


def _read_row(row: dict[str, str], where: str) -> ActionsOfVideo:
    actions = []
    for text in filter(None, row["actions"].split(";")):
        name, *times = text.split()
        if len(times) != 2 or name[:1] != "c" or not name[1:].isdecimal() or int(name[1:]) >= CLASSES:
            raise DataError(f"{where}: expected an action such as 'c092 11.90 21.20', found {shown(text)}; correct it")
        start, end = (parse_number(time, "time", where) for time in times)
        actions.append((int(name[1:]), start, end))
    duration_sec = as_positive(parse_number(row["length"], "length", where), "length", where)
    return ActionsOfVideo(row["id"], duration_sec, tuple(actions))


def draw_scores(video: ActionsOfVideo, *, rate: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw the logits of the imperfect classifier. Shape: (N, 157)"""
    rows = max(2, int(np.ceil(video.duration_sec * rate)))
    centres = ((np.arange(rows) + 0.5) / rate).astype(np.float64)
    evidence = np.zeros((rows, CLASSES), np.float32)

    def detect(label: int, start: float, end: float, strength: float) -> None:
        rise, fall = (_sigmoid((centres - edge) / (BLUR_SEC / 4)) for edge in (start, end))
        np.maximum(evidence[:, label], strength * (rise - fall), out=evidence[:, label])

    for label, start, end in video.actions:
        strength = 0.0 if rng.random() < MISSED else rng.lognormal(mean=1.0, sigma=0.4)
        early, late = rng.normal(0, JITTER_SEC, size=2)
        detect(label, start + early, end + late, strength)
    for _ in range(rng.poisson(FALSE_ALARMS)):
        length = rng.exponential(FALSE_ALARM_SEC)
        start = rng.uniform(-length, video.duration_sec)
        detect(int(rng.integers(CLASSES)), start, start + length, rng.lognormal(mean=0.7, sigma=0.4))

    kept = np.exp(-1 / (rate * MEMORY_SEC))
    noise = rng.normal(size=(rows, CLASSES)).astype(np.float32)
    for row in range(1, rows):
        noise[row] = kept * noise[row - 1] + np.sqrt(1 - kept**2) * noise[row]
    bias = rng.normal(0, BIAS, size=CLASSES)
    return np.asarray(evidence + NOISE * noise + bias)


def _sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-np.clip(x, -30, 30))))
