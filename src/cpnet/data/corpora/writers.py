"""Write moments, features and word vectors in formats of real corpora."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from cpnet.data.moment import Moment

# A frame takes 0.04 s, so seconds with two decimals represent whole frames exactly.
FPS = 25

Splits = Mapping[str, Sequence[Moment]]  # pairs by the name of their split
Features = Mapping[str, NDArray[np.float32]]  # (N, V) of each video


def write_charades_sta(folder: Path, splits: Splits) -> None:
    """Write ``charades_sta_{train,test}.txt`` and ``Charades_v1_{train,test}.csv``; "val" is part of "train"."""
    for split, moments in {"train": [*splits["train"], *splits["val"]], "test": splits["test"]}.items():
        lengths = {moment.video: f"{moment.video},{moment.duration_sec:.2f}" for moment in moments}
        write_lines(folder / f"Charades_v1_{split}.csv", ["id,length", *lengths.values()])
        lines = (f"{m.video} {start:.2f} {end:.2f}##{m.query}" for m in moments for start, end in m.windows_sec)
        write_lines(folder / f"charades_sta_{split}.txt", lines)


def write_jsonl(folder: Path, splits: Splits) -> None:
    """Write ``SPLIT.jsonl`` for each split."""
    for split, moments in splits.items():
        rows = (
            {
                "qid": moment.qid,
                "query": moment.query,
                "duration": moment.duration_sec,
                "vid": moment.video,
                "relevant_windows": moment.windows_sec,
            }
            for moment in moments
        )
        write_lines(folder / f"{split}.jsonl", map(json.dumps, rows))


def write_hdf5(folder: Path, features: Features) -> None:
    """Write ``features.hdf5``, one dataset per video."""
    with h5py.File(folder / "features.hdf5", "w") as file:
        for name, rows in features.items():
            file.create_dataset(name, data=rows)


def write_npy(folder: Path, features: Features) -> None:
    """Write ``features/{video}.npy``."""
    (folder / "features").mkdir()
    for video, rows in features.items():
        np.save(folder / "features" / f"{video}.npy", rows)


def write_glove(path: Path, words: Sequence[str], vectors: NDArray[np.floating]) -> None:
    """Write word vectors in GloVe's text format.

    Shape: vectors (words, W)
    """
    rows = zip(words, vectors, strict=True)
    write_lines(path, (" ".join([word, *(f"{number:.5f}" for number in vector)]) for word, vector in rows))


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write a text file with the same bytes on every platform."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(f"{line}\n" for line in lines)
