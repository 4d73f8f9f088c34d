"""The only DataModule: reads the files of any corpus and provides batches."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from itertools import chain
from typing import get_args

from pytorch_lightning import LightningDataModule

from cpnet.data.annotations import Annotations
from cpnet.data.dataset import GroundingDataset, Order
from cpnet.data.extractor import Extractor
from cpnet.data.features import split_by_features
from cpnet.data.features.feature_pack import FeaturePack
from cpnet.data.features.placement import place_features
from cpnet.data.features.suspicious import equal_lengths
from cpnet.data.loader import GroundingLoader, ShardSampler, TrainingSampler
from cpnet.data.moment import Moment, is_test, normalise_id
from cpnet.data.probes import Blind
from cpnet.data.sampling import Sampling
from cpnet.data.vocabulary import Words
from cpnet.errors import ConfigError

COMPARED = 100  # videos whose numbers of rows are compared before training

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Loading:
    """Size, order and content of batches.

    Raises:
        ConfigError: a value is invalid
    """

    batch_size: int  # pairs per batch and process
    seed: int  # seed of the order and the phases of training pairs
    evaluation_order: Order
    blind: Blind  # hides the video or the query from the model
    tested: str = "test"  # split to measure; test means all test splits

    def __post_init__(self) -> None:
        for key, value, allowed in (
            ("dataset.blind", self.blind, get_args(Blind)),
            ("evaluation_order", self.evaluation_order, get_args(Order)),
        ):
            if value not in allowed:
                raise ConfigError(f"{key} must be one of {', '.join(allowed)}; got {value!r}")
        if self.batch_size < 1:
            raise ConfigError(f"batch_size must be 1 or more; got {self.batch_size}")


class GroundingDataModule(LightningDataModule):
    """Reads a corpus, finds the pairs whose videos have features, places the features, and provides batches.

    ``generate`` writes the files of a generated corpus unless they exist.
    ``test_split`` is the split of ``test_dataloader``, one of ``tested``; it may be set before each test.
    """

    def __init__(
        self,
        *,
        annotations: Annotations,
        features: FeaturePack,
        words: Words,
        sampling: Sampling,
        loading: Loading,
        generate: Callable[[], object] | None = None,
    ) -> None:
        super().__init__()
        self.annotations, self.features, self.words = annotations, features, words
        self.sampling, self.loading = sampling, loading
        self.generate = generate
        self.tested = annotations.measured(loading.tested)  # splits to measure
        self.test_split = self.tested[0]
        self.extractor: Extractor | None = None  # what extracted the features; None if unknown
        self.longest_sec: float | None = None  # length of the longest video of training
        self.pairs = ""  # hash of the pairs of train and val
        self.missing: dict[str, list[Moment]] = {}  # pairs of each split whose videos have no features
        self._datasets: dict[str, GroundingDataset] = {}

    def prepare_data(self) -> None:
        """Write the files of a generated corpus."""
        if self.generate is not None:
            self.generate()

    def setup(self, stage: str | None = None) -> None:
        """Read all splits once, whatever the stage. Move features of placement ``device`` to that of the trainer.

        Raises:
            DataError: a file is missing or malformed, a split has defects, or features are missing or do not fit
        """
        if not self._datasets:
            self._read()
        if self.trainer is not None:
            self.dataset("train").features.to(self.trainer.strategy.root_device)

    def _read(self) -> None:
        moments, _ = self.annotations.read()
        on_missing = self.annotations.on_missing
        queries = [moment.query for split in moments.values() for moment in split]
        self.vocabulary = self.words.vocabulary(queries)
        log.info("words: %s", self.vocabulary.describe_coverage(queries, max_words=self.words.max_words))
        annotated = {moment.video: None for split in moments.values() for moment in split}
        source = self.features.open(annotated, skip_missing=on_missing == "drop")
        moments, self.missing = split_by_features(source, moments, on_missing=on_missing)
        seconds = {moment.video: moment.duration_sec for split in moments.values() for moment in split}
        spellings = {normalise_id(video): video for video in seconds}
        videos = [*spellings.values()]
        self.extractor = source.extractor
        self.longest_sec = max((float(moment.duration_sec) for moment in moments["train"]), default=None)
        digest = hashlib.sha256()
        for moment in chain(moments["train"], moments["val"]):
            digest.update(repr(moment).encode(errors="backslashreplace"))
        self.pairs = digest.hexdigest()
        log.info("features: %s", source.describe())
        if doubt := equal_lengths({video: source.length(video) for video in videos[:COMPARED]}, seconds):
            log.warning("features: %s", doubt)
        placement, gpu = self.features.options.placement, self.features.gpu
        placed = place_features(source, videos, placement=placement, gpu=gpu)
        self._datasets = {
            split: GroundingDataset(
                kept,
                features=placed,
                videos={video: number for number, video in enumerate(spellings)},
                sampling=self.sampling,
                vocabulary=self.vocabulary,
                max_words=self.words.max_words,
                blind=self.loading.blind,
            )
            for split, kept in moments.items()
        }

    def dataset(self, split: str) -> GroundingDataset:
        """Return the pairs of ``train``, ``val`` or a test split, after ``setup``."""
        return self._datasets[split]

    def missed(self) -> list[Moment]:
        """Return the pairs of the tested split whose videos have no features; only test splits count them as missed."""
        return self.missing[self.test_split] if is_test(self.test_split) else []

    def train_dataloader(self) -> GroundingLoader:
        """Return batches of the training split, in an order determined by seed and epoch."""
        rank, world = self._rank_and_world()
        dataset = self.dataset("train")
        sampler = TrainingSampler(dataset, seed=self.loading.seed, rank=rank, world=world)
        return GroundingLoader(dataset, sampler=sampler, batch_size=self.loading.batch_size)

    def val_dataloader(self) -> GroundingLoader:
        """Return batches of the validation split, with every pair once."""
        return self.evaluation_dataloader("val")

    def test_dataloader(self) -> GroundingLoader:
        """Return batches of the tested split, with every pair once."""
        return self.evaluation_dataloader(self.test_split)

    def evaluation_dataloader(self, split: str, *, probed: GroundingDataset | None = None) -> GroundingLoader:
        """Return batches of a split in evaluation order, without phases; the processes share the pairs.

        ``probed`` replaces the split by its pairs with an input that a probe changes.
        """
        rank, world = self._rank_and_world()
        order = self.loading.evaluation_order
        dataset = copy(self.dataset(split) if probed is None else probed)
        dataset.share_videos = order == "video"
        rows = dataset.order(order).tolist()
        shard = ShardSampler(dataset, order=rows, batch_size=self.loading.batch_size, rank=rank, world=world)
        return GroundingLoader(dataset, sampler=shard, batch_size=None)

    def _rank_and_world(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer is not None else (0, 1)
