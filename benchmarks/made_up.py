"""Feature packs of real sizes with made-up values, and pairs on them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import torch
from numpy.typing import NDArray

from cpnet.data.annotations import Annotations
from cpnet.data.corpora.writers import write_glove, write_jsonl
from cpnet.data.datamodule import GroundingDataModule, Loading
from cpnet.data.features.feature_pack import FeaturePack
from cpnet.data.moment import Moment
from cpnet.data.sampling import Sampling
from cpnet.data.vocabulary import SPECIAL, Vocabulary, Words
from cpnet.options import DatasetOptions, FeatureOptions, WordOptions

POLICY = ("validation", "holdout_fraction", "holdout_seed", "on_defect", "on_missing", "ground_truth", "time_unit")
ROWS_A_SECOND = 4.0
WORD_DIM = 5
YAML = """\
defaults:
  - base_dataset
  - _self_
name: made_up
reader: {{_target_: cpnet.data.readers.read_jsonl}}
splits:
  train: {{annotations: "${{data_dir}}/train.jsonl"}}
  val: {{annotations: "${{data_dir}}/val.jsonl"}}
  test: {{annotations: "${{data_dir}}/test.jsonl"}}
validation: file
features: {{path: "${{data_dir}}/features.hdf5", dim: {width}}}
word_vectors: {{path: "${{data_dir}}/glove.txt", dim: {word_dim}}}
"""
QUERY = "a person opens the door and walks over to the other side of the room while someone is watching"


@dataclass(frozen=True)
class Shape:
    """Number of videos, of their rows on average, and of values a row."""

    videos: int
    rows: int
    width: int

    def counts(self) -> NDArray[np.int64]:
        """Return the number of rows of each video, from half to one and a half of the average."""
        least, most = self.rows // 2, self.rows + self.rows // 2
        drawn = np.random.default_rng(0).integers(least, most, self.videos, endpoint=True)
        return np.asarray(drawn, dtype=np.int64)

    def durations(self) -> dict[str, float]:
        """Return the seconds of each video."""
        return {name(video): count / ROWS_A_SECOND for video, count in enumerate(self.counts().tolist())}


def name(video: int) -> str:
    """Return the id of a video."""
    return f"video{video:06d}"


def write_pack(path: Path, shape: Shape, *, dtype: str = "float32", shared: bool = False) -> None:
    """Write a pack as delivered: HDF5, one dataset a video; if ``shared``, one dataset for all videos of a length."""
    noise = np.random.default_rng(1).standard_normal((2 * shape.rows, shape.width), np.float32).astype(dtype)
    written: dict[int, h5py.Dataset] = {}
    with h5py.File(path, "w") as file:
        for video, count in enumerate(shape.counts().tolist()):
            noise[0, 0] = video % 1000
            file[name(video)] = written[count] if shared and count in written else noise[:count]
            written[count] = file[name(video)]


def read_pairs(*, split: str, pairs: Mapping[str, int], shape: Shape) -> list[Moment]:
    """Return the pairs of a split, spread evenly over all videos: a reader for ``Annotations``."""
    videos, words = list(shape.durations().items()), QUERY.split()
    return [
        Moment(
            qid=f"{split}:{pair}",
            video=(chosen := videos[pair % shape.videos])[0],
            query=" ".join(words[: 5 + pair % 13]),
            windows_sec=((0.0, chosen[1] / 2),),
            duration_sec=chosen[1],
        )
        for pair in range(pairs[split])
    ]


def write_corpus(folder: Path, shape: Shape, *, pairs: Mapping[str, int], shared: bool = False) -> None:
    """Write features, annotations, word vectors, and the one yaml of a corpus for ``--config-dir conf``."""
    folder.mkdir(parents=True, exist_ok=True)
    write_pack(folder / "features.hdf5", shape, shared=shared)
    write_jsonl(folder, {split: read_pairs(split=split, pairs=pairs, shape=shape) for split in pairs})
    words = sorted(set(QUERY.split()))
    write_glove(folder / "glove.txt", words, np.ones((len(words), WORD_DIM)))
    (folder / "conf" / "dataset").mkdir(parents=True)
    yaml = YAML.format(width=shape.width, word_dim=WORD_DIM)
    (folder / "conf" / "dataset" / "made_up.yaml").write_text(yaml, encoding="utf-8")


def datamodule(
    path: Path, shape: Shape, *, pairs: int, placement: str, sampling: Sampling, batch_size: int
) -> GroundingDataModule:
    """Make the DataModule of a pack with a number of pairs to train on, and set it up."""
    logging.getLogger("cpnet").setLevel(logging.ERROR)  # these data look odd
    module = GroundingDataModule(
        annotations=Annotations(
            reader=partial(read_pairs, pairs={"train": pairs, "val": 1, "test": 1}, shape=shape),
            splits={split: {"split": split} for split in ("train", "val", "test")},
            **{key: getattr(DatasetOptions(validation="file"), key) for key in POLICY},
        ),
        features=FeaturePack(options=FeatureOptions(path=str(path), dim=shape.width, placement=placement)),
        words=Words(options=WordOptions(), max_words=50, known=Vocabulary(SPECIAL, torch.zeros(2, 300))),
        sampling=sampling,
        loading=Loading(batch_size=batch_size, seed=0, evaluation_order="split", blind="none"),
    )
    module.setup()
    return module
