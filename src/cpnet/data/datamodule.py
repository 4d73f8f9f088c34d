"""The only DataModule: from the files of any corpus to batches."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

import torch
from pytorch_lightning import LightningDataModule
from torch.utils.data import DataLoader, DistributedSampler, Sampler

from cpnet.batch import GroundingBatch
from cpnet.data.cleaning import clean
from cpnet.data.collate import collate
from cpnet.data.dataset import Blind, GroundingDataset
from cpnet.data.features import FeatureSource, check_coverage, open_features
from cpnet.data.moment import DataError, Moment
from cpnet.data.sampling import Sampling
from cpnet.data.splits import hold_out
from cpnet.data.vocabulary import Vocabulary

log = logging.getLogger(__name__)

Reader = Callable[..., list[Moment]]
Validation = Literal["file", "holdout", "test"]
SPLITS = ("train", "val", "test")


class Corpus(Protocol):
    """What can make a corpus where there is none."""

    def prepare(self) -> None:
        """Write the corpus unless it is there."""
        ...


class ShardSampler(DistributedSampler[Any]):
    """Every ``world``-th pair from ``rank`` on: no pair is given twice, so that metrics are those of one process.

    Lightning puts a sampler of its own around every other kind, which would share out the share again.
    """

    def __init__(self, dataset: GroundingDataset, *, rank: int, world: int) -> None:
        super().__init__(dataset, num_replicas=world, rank=rank, shuffle=False)
        self.rows = range(rank, len(dataset), world)

    def __iter__(self) -> Iterator[int]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)


class GroundingDataModule(LightningDataModule):
    """Reads, cleans and splits a corpus, checks that its features are all there, and serves batches.

    Args:
        reader: from the files of a split to its moments
        splits: arguments of the reader by split: train, test and, where validation is ``file``, val
        features: arguments of ``open_features``
        glove: text file of word vectors; None gives every word a random one
        sampling: from rows to T clips
        vocabulary: words of a checkpoint, which then serve; those it lacks are looked up in the file, where it exists
        word_dim: the width W of the word vectors; None takes the file's
        validation: ``file`` reads the split val, ``holdout`` takes training videos, ``test`` selects on the test split
        holdout_fraction: share of the training videos that is held out
        holdout_seed: which of them
        on_defect: what is done about reversed and empty pairs of evaluation splits
        ground_truth: ``raw`` leaves the true spans of evaluation splits as annotated, beyond the video too
        blind: what the model is not given
        max_words: longer queries are cut
        batch_size: pairs of a batch, on each process
        num_workers: processes that read ahead
        seed: of the order of training pairs
        corpus: makes the files first

    Raises:
        DataError: see ``setup``.
        ValueError: an impossible value; the message names its key
    """

    def __init__(
        self,
        *,
        reader: Reader,
        splits: Mapping[str, Mapping[str, str]],
        features: Mapping[str, Any],
        glove: Path | None,
        sampling: Sampling,
        vocabulary: Vocabulary | None = None,
        word_dim: int | None = None,
        validation: Validation = "holdout",
        holdout_fraction: float = 0.1,
        holdout_seed: int = 0,
        on_defect: Literal["error", "drop"] = "error",
        ground_truth: Literal["clipped", "raw"] = "clipped",
        blind: Blind = "none",
        max_words: int = 50,
        batch_size: int = 100,
        num_workers: int = 0,
        seed: int = 0,
        corpus: Corpus | None = None,
    ) -> None:
        super().__init__()
        for key, value, allowed in (
            ("dataset.validation", validation, get_args(Validation)),
            ("dataset.ground_truth", ground_truth, ("clipped", "raw")),
            ("dataset.blind", blind, get_args(Blind)),
        ):
            if value not in allowed:
                raise ValueError(f"{key} must be one of {', '.join(allowed)}; got {value!r}")
        for key, number, least in (
            ("batch_size", batch_size, 1),
            ("num_workers", num_workers, 0),
            ("dataset.max_words", max_words, 1),
        ):
            if number < least:
                raise ValueError(f"{key} must be {least} or more; got {number}")
        wanted = {"train", "test"} | ({"val"} if validation == "file" else set())
        if wanted - splits.keys():
            raise ValueError(f"dataset.splits must hold {', '.join(sorted(wanted))}; got {', '.join(splits)}")
        self.reader, self.splits, self.validation = reader, splits, validation
        self.holdout_fraction, self.holdout_seed = holdout_fraction, holdout_seed
        self.on_defect, self.ground_truth = on_defect, ground_truth
        self.open_features: Callable[[], FeatureSource] = partial(open_features, **features)
        self.glove, self.word_dim, self.sampling = glove, word_dim, sampling
        self.known_vocabulary = vocabulary
        self.blind, self.max_words = blind, max_words
        self.batch_size, self.num_workers, self.seed, self.corpus = batch_size, num_workers, seed, corpus
        self._datasets: dict[str, GroundingDataset] = {}

    def prepare_data(self) -> None:
        """Make the corpus where it is one that we make."""
        if self.corpus is not None:
            self.corpus.prepare()

    def setup(self, stage: str | None = None) -> None:
        """Read everything once, whatever the stage; a second call does nothing.

        Raises:
            DataError: a file is absent or malformed, an evaluation split has defects, or videos lack features
        """
        if self._datasets:
            return
        moments = self._read()
        queries = [moment.query for split in moments.values() for moment in split]
        self.vocabulary = self._vocabulary(queries)
        log.info("words: %s", self.vocabulary.coverage(queries, max_words=self.max_words).describe())
        features = self.open_features()
        for split, kept in moments.items():
            check_coverage(features, split=split, videos=[moment.video for moment in kept])
        log.info("features: %s, %d videos, %d wide", features.path, len(features), features.dim)
        self._datasets = {
            split: GroundingDataset(
                kept,
                features=features,
                sampling=self.sampling,
                vocabulary=self.vocabulary,
                max_words=self.max_words,
                training=split == "train",
                blind=self.blind,
            )
            for split, kept in moments.items()
        }

    def dataset(self, split: str) -> GroundingDataset:
        """The pairs of ``train``, ``val`` or ``test``; ``setup`` comes first.

        Raises:
            DataError: there is no such split
        """
        if split not in self._datasets:
            raise DataError(f"split must be one of {', '.join(SPLITS)}; got {split!r}")
        return self._datasets[split]

    def train_dataloader(self) -> DataLoader[Any]:
        """Batches in an order that follows from seed and epoch."""
        rank, world = self._rank_and_world()
        order: DistributedSampler[Any] = DistributedSampler(
            self.dataset("train"), num_replicas=world, rank=rank, shuffle=True, seed=self.seed, drop_last=False
        )
        return self._loader("train", order)

    def val_dataloader(self) -> DataLoader[Any]:
        """Batches of the validation split, every pair once."""
        return self.evaluation_dataloader("val")

    def test_dataloader(self) -> DataLoader[Any]:
        """Batches of the test split, every pair once."""
        return self.evaluation_dataloader("test")

    def evaluation_dataloader(self, split: str) -> DataLoader[Any]:
        """Batches of any split in its own order, every pair once over all processes."""
        rank, world = self._rank_and_world()
        return self._loader(split, ShardSampler(self.dataset(split), rank=rank, world=world))

    def _loader(self, split: str, sampler: Sampler[Any]) -> DataLoader[Any]:
        collate_samples: Callable[[Sequence[Any]], GroundingBatch] = collate
        return DataLoader(
            self.dataset(split),
            batch_size=self.batch_size,
            sampler=sampler,
            num_workers=self.num_workers,
            collate_fn=collate_samples,
            pin_memory=torch.cuda.is_available(),
            persistent_workers=self.num_workers > 0,
        )

    def _rank_and_world(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer is not None else (0, 1)

    def _read(self) -> dict[str, list[Moment]]:
        moments = {}
        for split in SPLITS:
            if split == "val" and self.validation != "file":
                continue
            training = split == "train"
            moments[split], report = clean(
                self.reader(**self.splits[split]),
                split=split,
                training=training,
                on_defect=self.on_defect,
                clip=training or self.ground_truth == "clipped",
            )
            log.info(report.describe())
        if self.validation == "holdout":
            moments["train"], moments["val"] = hold_out(
                moments["train"], fraction=self.holdout_fraction, seed=self.holdout_seed
            )
            log.info(
                "val: %d pairs held out of train, which keeps %d (dataset.validation=holdout)",
                len(moments["val"]),
                len(moments["train"]),
            )
        elif self.validation == "test":
            moments["val"] = moments["test"]
            log.warning("val: is the test split (dataset.validation=test): the checkpoint is selected on test")
        return moments

    def _vocabulary(self, queries: Sequence[str]) -> Vocabulary:
        if self.known_vocabulary is None:
            return Vocabulary.build(queries, glove=self.glove, dim=self.word_dim)
        if self.glove is not None and self.glove.exists():
            return self.known_vocabulary.extend(queries, glove=self.glove)
        return self.known_vocabulary
