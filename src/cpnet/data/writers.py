"""The readers' mirror: moments and features written in each format of annotation file and layout of feature pack."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from cpnet.data.moment import Moment

# Frames of 1/25 s are multiples of 0.01 s: in seconds with two decimals and in whole frames such times are the same.
FPS = 25

Splits = Mapping[str, Sequence[Moment]]  # "train", "val", "test"; the moments of a video in a row
Features = Mapping[str, NDArray[np.float32]]  # (N, V) of each video


def write_charades_sta(folder: Path, splits: Splits) -> None:
    """Write ``charades_sta_{train,test}.txt`` and ``Charades_v1_{train,test}.csv``; "val" joins "train"."""
    for split, moments in {"train": [*splits["train"], *splits["val"]], "test": splits["test"]}.items():
        lengths = {moment.video: f"{moment.video},{moment.duration_sec:.2f}" for moment in moments}
        write_lines(folder / f"Charades_v1_{split}.csv", ["id,length", *lengths.values()])
        lines = (f"{m.video} {m.start_sec:.2f} {m.end_sec:.2f}##{m.query}" for m in moments)
        write_lines(folder / f"charades_sta_{split}.txt", lines)


def write_activitynet_captions(folder: Path, splits: Splits) -> None:
    """Write ``train.json``, ``val_1.json`` and ``val_2.json``, the last one for "test"."""
    for split, name in {"train": "train", "val": "val_1", "test": "val_2"}.items():
        entries = {
            video: {
                "duration": moments[0].duration_sec,
                "timestamps": [[moment.start_sec, moment.end_sec] for moment in moments],
                "sentences": [moment.query for moment in moments],
            }
            for video, moments in _by_video(splits[split])
        }
        write_lines(folder / f"{name}.json", [json.dumps(entries)])


def write_tacos(folder: Path, splits: Splits) -> None:
    """Write ``{train,val,test}.json`` in whole frames, with their rate."""
    for split in splits:
        entries = {
            video: {
                "timestamps": [[round(m.start_sec * FPS), round(m.end_sec * FPS)] for m in moments],
                "sentences": [moment.query for moment in moments],
                "fps": FPS,
                "num_frames": round(moments[0].duration_sec * FPS),
            }
            for video, moments in _by_video(splits[split])
        }
        write_lines(folder / f"{split}.json", [json.dumps(entries)])


def write_jsonl(folder: Path, splits: Splits) -> None:
    """Write ``{train,val,test}.jsonl``."""
    for split, moments in splits.items():
        rows = (
            {
                "qid": moment.qid,
                "query": moment.query,
                "duration": moment.duration_sec,
                "vid": moment.video,
                "relevant_windows": [[moment.start_sec, moment.end_sec]],
            }
            for moment in moments
        )
        write_lines(folder / f"{split}.jsonl", map(json.dumps, rows))


def write_hdf5_flat(folder: Path, features: Features) -> None:
    """Write ``features.hdf5``, a dataset a video."""
    with h5py.File(folder / "features.hdf5", "w") as file:
        for name, rows in features.items():
            file.create_dataset(name, data=rows)


def write_hdf5_group(folder: Path, features: Features) -> None:
    """Write ``features.hdf5``, a group a video with the dataset ``features``."""
    write_hdf5_flat(folder, {f"{video}/features": rows for video, rows in features.items()})


def write_npy(folder: Path, features: Features) -> None:
    """Write ``features/{video}.npy``."""
    (folder / "features").mkdir()
    for video, rows in features.items():
        np.save(folder / "features" / f"{video}.npy", rows)


def write_glove(path: Path, words: Sequence[str], vectors: NDArray[np.floating]) -> None:
    """Write word vectors as GloVe's text files have them.

    Shape: vectors (words, W)
    """
    rows = zip(words, vectors, strict=True)
    write_lines(path, (" ".join([word, *(f"{number:.5f}" for number in vector)]) for word, vector in rows))


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write a text file that is the same on every platform."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(f"{line}\n" for line in lines)


def _by_video(moments: Iterable[Moment]) -> list[tuple[str, list[Moment]]]:
    return [(video, list(group)) for video, group in groupby(moments, key=lambda moment: moment.video)]
