"""A corpus small enough to check by hand, on disk in real formats, and a model to match.

Row r of a video's features is ``[number of the video, r, 1]``, so that each clip shows its origin. ``WORDS`` are in
alphabetical order, so that word w is row 2 + w of the vocabulary.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import h5py
import numpy as np
import torch
from numpy.typing import NDArray
from pytorch_lightning import Trainer
from torch import Tensor, nn

from cpnet.batch import GroundingBatch, GroundingOutput
from cpnet.data.annotations import Annotations
from cpnet.data.datamodule import GroundingDataModule, Loading
from cpnet.data.features.feature_pack import FeaturePack
from cpnet.data.moment import Moment
from cpnet.data.readers import read_jsonl
from cpnet.data.sampling import Pick
from cpnet.data.vocabulary import Words
from cpnet.options import DatasetOptions, FeatureOptions, WordOptions

DIM, WORD_DIM, CLIPS = 3, 2, 4
WORDS = ("a", "close", "door", "open", "the", "window")
UNKNOWN_WORD = "zyzzyva"


def moment(
    qid: str,
    video: str,
    *windows_sec: tuple[float, float],
    query: str = "open the door",
    duration_sec: float = 10.0,
) -> Moment:
    return Moment(qid=qid, video=video, query=query, windows_sec=windows_sec, duration_sec=duration_sec)


# Two pairs of each of ten videos.
TRAIN = [
    moment(f"train-{number}-{half}", f"t{number:02}", (5.0 * half, 5.0 * half + 2.5), query=query)
    for number in range(10)
    for half, query in enumerate(("open the door", "close a window"))
]
VAL = [moment(f"val-{number}", "v00", (number, 9.0)) for number in range(3)]
# One ends 2.5 s past its video, one has a word without a vector, one is not ASCII.
TEST = [
    moment("test-0", "e00", (0.0, 5.0), query="open a door"),
    moment("test-1", "e00", (5.0, 12.5), query="close the window"),
    moment("test-2", "e01", (2.0, 4.0), query=f"open the {UNKNOWN_WORD}", duration_sec=20.0),
    moment("test-3", "e01", (10.0, 20.0), query="the café door “opens”", duration_sec=20.0),
    moment("test-4", "e02", (1.0, 3.0), query="close", duration_sec=5.0),
    moment("test-5", "e02", (0.0, 5.0), query="open", duration_sec=5.0),
    moment("test-6", "e02", (2.5, 5.0), query="a door", duration_sec=5.0),
]
SPLITS = {"train": TRAIN, "val": VAL, "test": TEST}
ROWS = {f"t{number:02}": 3 for number in range(10)} | {"v00": 4, "e00": 2, "e01": 8, "e02": 6}


def rows(video: str) -> NDArray[np.float32]:
    """Features of a video.

    Shape: (N, V)
    """
    count = ROWS[video]
    number = list(ROWS).index(video)
    return np.stack([np.full(count, number), np.arange(count), np.ones(count)], axis=1).astype(np.float32)


def write_jsonl(path: Path, moments: Sequence[Moment]) -> None:
    lines = [
        json.dumps(
            {
                "qid": each.qid,
                "vid": each.video,
                "query": each.query,
                "duration": each.duration_sec,
                "relevant_windows": each.windows_sec or None,
            }
        )
        for each in moments
    ]
    path.write_text("\n".join(lines), encoding="utf-8")


def write_features(path: Path, videos: Sequence[str] = tuple(ROWS)) -> None:
    with h5py.File(path, "w") as file:
        for video in videos:
            file[video] = rows(video)


def write_glove(path: Path, words: Sequence[str] = WORDS) -> None:
    path.write_text("".join(f"{word} {len(word)} -{ord(word[0])}\n" for word in words), encoding="utf-8")


def write_corpus(folder: Path, splits: Mapping[str, Sequence[Moment]] = SPLITS) -> dict[str, Any]:
    """Write all files of a corpus; return the arguments of ``make``."""
    for split, moments in splits.items():
        write_jsonl(folder / f"{split}.jsonl", moments)
    write_features(folder / "features.hdf5")
    write_glove(folder / "glove.txt")
    return {
        "reader": read_jsonl,
        "splits": {split: {"annotations": str(folder / f"{split}.jsonl")} for split in splits},
        "validation": "file",
        "features": {"path": str(folder / "features.hdf5"), "dim": DIM},
        "word_vectors": {"path": str(folder / "glove.txt"), "dim": WORD_DIM},
        "max_words": 4,
        "sampling": Pick(clips=CLIPS),
        "batch_size": 3,
        "seed": 0,
        "evaluation_order": "split",
        "blind": "none",
    }


def make(arguments: Mapping[str, Any]) -> GroundingDataModule:
    """Make a DataModule; sort the arguments into the objects that it takes."""
    left = dict(arguments)

    def take(made: type[Any]) -> dict[str, Any]:
        return {field.name: left.pop(field.name) for field in fields(made) if field.name in left}

    return GroundingDataModule(
        annotations=make_annotations(**take(Annotations)),
        loading=Loading(**take(Loading)),
        features=FeaturePack(options=FeatureOptions(**left.pop("features"))),
        words=Words(
            options=WordOptions(**left.pop("word_vectors")),
            max_words=left.pop("max_words"),
            known=left.pop("known", None),
        ),
        **left,
    )


def make_annotations(**arguments: Any) -> Annotations:
    """Make ``Annotations`` with the default policy."""
    policy = ("validation", "holdout_fraction", "holdout_seed", "on_defect", "ground_truth", "time_unit")
    return Annotations(**{key: getattr(DatasetOptions(), key) for key in policy} | arguments)


def ready(arguments: Mapping[str, Any]) -> GroundingDataModule:
    """Make a DataModule and set it up."""
    datamodule = make(arguments)
    datamodule.prepare_data()
    datamodule.setup()
    return datamodule


def process(rank: int, world: int) -> Trainer:
    """Return the part of a trainer that names its process."""
    return cast(Trainer, SimpleNamespace(global_rank=rank, world_size=world, is_global_zero=rank == 0))


def trainer(**changes: Any) -> Trainer:
    """Make a trainer that writes and prints nothing."""
    quiet: dict[str, Any] = {
        "accelerator": "cpu",
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
    }
    return Trainer(**quiet | changes)


class Table(nn.Module):
    """Predicts row i for pair i of a split, with equal attention to all real clips.

    Shape: spans (pairs, 2) in fractions of the video
    """

    def __init__(self, table: Tensor) -> None:
        super().__init__()
        self.table = nn.Parameter(table)

    def forward(self, batch: GroundingBatch) -> GroundingOutput:
        span = self.table[batch.index]
        even = -batch.video_mask.sum(dim=1, keepdim=True).float().log()
        return GroundingOutput(
            span=span,
            ranked=span.sort(dim=-1).values[:, None],
            log_attention=even.where(batch.video_mask, torch.finfo(torch.float32).min),
        )
