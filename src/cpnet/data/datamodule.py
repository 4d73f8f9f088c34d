"""The only DataModule: from the files of any corpus to batches."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, get_args

import torch
from pytorch_lightning import LightningDataModule

from cpnet.batch import GroundingBatch
from cpnet.data.annotations import Annotations, check_split
from cpnet.data.collate import Draw
from cpnet.data.dataset import Blind, GroundingDataset, Order
from cpnet.data.features import FeatureSource, check_coverage, open_store
from cpnet.data.files import default_store
from cpnet.data.identity import normalise_id
from cpnet.data.loader import GroundingLoader, ShardSampler, TrainingSampler
from cpnet.data.progress import Progress, silent
from cpnet.data.residence import Residence, place_rows
from cpnet.data.rows import DeviceRows
from cpnet.data.sampling import Sampling
from cpnet.data.vocabulary import Vocabulary

log = logging.getLogger(__name__)


class Corpus(Protocol):
    """What can make a corpus where there is none."""

    def prepare(self) -> None:
        """Write the corpus unless it is there."""
        ...


class GroundingDataModule(LightningDataModule):
    """Reads a corpus, checks that its features are all there, puts them where they are to be, and serves batches.

    Args:
        annotations: the moments of every split
        features: arguments of ``open_features``
        packed: the packed store, which is preferred where it fits; None looks for it beside the features
        residence: where the features are, see ``place_rows``
        gpu: whether the model will be on a GPU
        glove: text file of word vectors; None gives every word a random one
        sampling: from rows to T clips
        vocabulary: words of a checkpoint, which then serve; those it lacks are looked up in the file, where it exists
        word_dim: the width W of the word vectors; None takes the file's
        blind: what the model is not given
        max_words: longer queries are cut
        batch_size: pairs of a batch, on each process
        num_workers: processes that read ahead
        seed: of the order of training pairs, and of their phases
        evaluation_order: pairs of an evaluation in the order of the ``split``, by ``length`` of the query, or by
            ``video``, where a batch carries each video once
        tested: the split that ``test_dataloader`` serves
        corpus: makes the files first
        progress: wraps the ids of videos while their features are read

    Raises:
        DataError: see ``setup``.
        ValueError: an impossible value; the message names its key
    """

    def __init__(
        self,
        *,
        annotations: Annotations,
        features: Mapping[str, Any],
        packed: Path | None = None,
        residence: Residence = "auto",
        gpu: bool = False,
        glove: Path | None,
        sampling: Sampling,
        vocabulary: Vocabulary | None = None,
        word_dim: int | None = None,
        blind: Blind = "none",
        max_words: int = 50,
        batch_size: int = 100,
        num_workers: int = 0,
        seed: int = 0,
        evaluation_order: Order = "split",
        tested: str = "test",
        corpus: Corpus | None = None,
        progress: Progress = silent,
    ) -> None:
        super().__init__()
        for key, value, allowed in (
            ("dataset.features.residence", residence, get_args(Residence)),
            ("dataset.blind", blind, get_args(Blind)),
            ("evaluation_order", evaluation_order, get_args(Order)),
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
        check_split(tested)
        self.annotations = annotations
        self.features, self.packed = dict(features), packed or default_store(features)
        self.residence, self.gpu = residence, gpu
        self.glove, self.word_dim, self.sampling = glove, word_dim, sampling
        self.known_vocabulary = vocabulary
        self.blind, self.max_words = blind, max_words
        self.batch_size, self.num_workers, self.seed = batch_size, num_workers, seed
        self.evaluation_order, self.tested = evaluation_order, tested
        self.corpus, self.progress = corpus, progress
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
        moments, _ = self.annotations.read()
        queries = [moment.query for split in moments.values() for moment in split]
        self.vocabulary = self._vocabulary(queries)
        log.info("words: %s", self.vocabulary.coverage(queries, max_words=self.max_words).describe())
        spellings = {normalise_id(moment.video): moment.video for split in moments.values() for moment in split}
        features: FeatureSource = open_store(
            self.packed, videos=spellings.values(), features=self.features, progress=self.progress
        )
        for split, kept in moments.items():
            check_coverage(features, split=split, videos=[moment.video for moment in kept])
        log.info("features: %s", features.describe())
        rows = place_rows(
            features, [*spellings.values()], residence=self.residence, gpu=self.gpu, progress=self.progress
        )
        self._datasets = {
            split: GroundingDataset(
                kept,
                split=split,
                rows=rows,
                videos={video: number for number, video in enumerate(spellings)},
                sampling=self.sampling,
                vocabulary=self.vocabulary,
                max_words=self.max_words,
                blind=self.blind,
                on_device=isinstance(rows, DeviceRows),
            )
            for split, kept in moments.items()
        }

    def dataset(self, split: str) -> GroundingDataset:
        """The pairs of ``train``, ``val`` or ``test``; ``setup`` comes first.

        Raises:
            DataError: there is no such split
        """
        check_split(split)
        return self._datasets[split]

    def train_dataloader(self) -> GroundingLoader:
        """Batches in an order that follows from seed and epoch."""
        rank, world = self._rank_and_world()
        dataset = self.dataset("train")
        sampler = TrainingSampler(dataset, seed=self.seed, rank=rank, world=world)
        return self._loader(dataset, sampler, batch_size=self.batch_size)

    def val_dataloader(self) -> GroundingLoader:
        """Batches of the validation split, every pair once."""
        return self.evaluation_dataloader("val")

    def test_dataloader(self) -> GroundingLoader:
        """Batches of the split that is tested, every pair once."""
        return self.evaluation_dataloader(self.tested)

    def evaluation_dataloader(self, split: str) -> GroundingLoader:
        """Batches of any split in the order of evaluation, every pair once over all processes, without random phase."""
        rank, world = self._rank_and_world()
        dataset = self.dataset(split).evaluating(share_videos=self.evaluation_order == "video")
        order = dataset.order(self.evaluation_order).tolist()
        shard = ShardSampler(dataset, order=order, batch_size=self.batch_size, rank=rank, world=world)
        return self._loader(dataset, shard, batch_size=None)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> GroundingBatch:
        """Move a batch to the device, or make it there from what was drawn."""
        if isinstance(batch, Draw):
            batch = self.dataset(batch.split).batch(batch.to(device))
        moved: GroundingBatch = batch.to(device)
        return moved

    def _loader(
        self, dataset: GroundingDataset, sampler: TrainingSampler | ShardSampler, *, batch_size: int | None
    ) -> GroundingLoader:
        """Serve a sampler's pairs in batches; without a size they are the sampler's own."""
        # What was drawn is too little to be worth a process.
        workers = 0 if dataset.on_device else self.num_workers
        return GroundingLoader(dataset, sampler=sampler, batch_size=batch_size, num_workers=workers)

    def _rank_and_world(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer is not None else (0, 1)

    def _vocabulary(self, queries: Sequence[str]) -> Vocabulary:
        if self.known_vocabulary is None:
            return Vocabulary.build(queries, glove=self.glove, dim=self.word_dim)
        if self.glove is not None and self.glove.exists():
            return self.known_vocabulary.extend(queries, glove=self.glove)
        return self.known_vocabulary
