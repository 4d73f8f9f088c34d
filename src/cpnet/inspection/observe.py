"""Predict pairs of a split with a trained model; collect its answers, attention and maps."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from cpnet.batch import UNKNOWN, AttentionMaps, GroundingBatch, GroundingOutput
from cpnet.data.datamodule import GroundingDataModule, Loading
from cpnet.data.dataset import GroundingDataset
from cpnet.data.extractor import check_extractor
from cpnet.data.moment import normalise_id
from cpnet.data.vocabulary import words_of
from cpnet.errors import ConfigError
from cpnet.evaluation.functional import best_iou
from cpnet.grounder import PAIRS, Grounder
from cpnet.models.cpnet.pyramid import ContextAwareModule
from cpnet.reporting.figures.maps import LevelMaps, WordMaps
from cpnet.runs.checkpoint import Checkpoint, is_other_corpus, load_checkpoint
from cpnet.terminal import track
from cpnet.training.build_data import build_datamodule

Floats = NDArray[np.floating]


@dataclass(frozen=True, kw_only=True)
class Observed:
    """A model's prediction for a pair.

    Attributes:
        predicted_sec: (start, end) of the best span; the end of a reversed one lies before its start
        iou: with the best true window; None without any
        attention: over equal parts of the video, shape (T,); empty for a model without
        weights: of the words that the model reads: S_q (CPNet, Eq. 2), averaged with the attention over the clips,
            shape (L,); empty for a model without, and unless asked for
    """

    predicted_sec: tuple[float, float]
    iou: float | None
    attention: Floats
    weights: Floats = field(default_factory=lambda: np.zeros(0))


class Observer:
    """A trained model beside the pairs of a split.

    Args:
        name: of the model, in figures
        grounder: the model
        dataset: the split, sampled as in the model's training
    """

    def __init__(self, name: str, grounder: Grounder, dataset: GroundingDataset) -> None:
        self.name, self.grounder, self.dataset = name, grounder, copy(dataset)
        self.dataset.share_videos = True
        self.has_maps = "return_maps" in inspect.signature(grounder.model.forward).parameters
        self.has_levels = any(isinstance(module, ContextAwareModule) for module in grounder.model.modules())

    def beside(self, checkpoint: Checkpoint, datamodule: GroundingDataModule, name: str) -> Observer:
        """Return another model on the same pairs, with its own sampling, words and blindness.

        Raises:
            ConfigError: it was trained on features of another width, backbone or norm
        """
        pairs, config = self.dataset, OmegaConf.create(checkpoint.config)
        check_extractor(checkpoint.extractor, datamodule.extractor, str(checkpoint.path))
        grounder = Grounder(checkpoint, device=self.grounder.device)
        if grounder.video_dim != self.grounder.video_dim:
            raise ConfigError(
                f"against={checkpoint.path} was trained on features {grounder.video_dim} wide, the other model on "
                f"{self.grounder.video_dim}; compare models of the same features"
            )
        if grounder.normalise != self.grounder.normalise:
            raise ConfigError(
                f"against={checkpoint.path} was trained with dataset.features.normalise={grounder.normalise}, the "
                f"other model with {self.grounder.normalise}; compare models of the same features"
            )
        numbers = zip(pairs.moments, pairs.pairs.video.tolist(), strict=True)
        dataset = GroundingDataset(
            pairs.moments,
            features=pairs.features,
            videos={normalise_id(moment.video): number for moment, number in numbers},
            sampling=grounder.sampling,
            vocabulary=grounder.vocabulary,
            max_words=config.dataset.max_words,
            blind=config.dataset.blind,
        )
        return Observer(name, grounder, dataset)

    def observe(self, rows: Sequence[int], *, weigh_words: bool = False) -> dict[int, Observed]:
        """Return the model's predictions for rows of the split.

        Raises:
            DataError: a prediction is not finite
        """
        moments, found = self.dataset.moments, dict[int, Observed]()
        grouped = sorted(rows, key=lambda row: moments[row].video)
        options = {"return_maps": True} if weigh_words and self.has_maps else {}
        for first in track(range(0, len(grouped), PAIRS), f"predictions of {self.name}"):
            picked = grouped[first : first + PAIRS]
            batch, output = self._predict(picked, **options)
            durations = batch.duration_sec[:, None, None]
            ranked = output.ranked.cpu().double() * durations
            ious = best_iou(ranked, batch.windows_sec) if batch.windows_sec.shape[1] else None
            clips = batch.clip_mask.sum(dim=1).tolist()
            for place, row in enumerate(picked):
                attention = np.zeros(0)
                if output.log_attention is not None:
                    attention = output.log_attention[place, : clips[place]].float().exp().cpu().numpy()
                start, end = ranked[place, 0].tolist()
                iou = None if ious is None or not moments[row].windows_sec else float(ious[place])
                found[row] = Observed(predicted_sec=(start, end), iou=iou, attention=attention)
                if output.maps is not None and attention.size:
                    weights = _word_weights(output.maps, place, attention)[: len(self.words(row))]
                    found[row] = replace(found[row], weights=weights)
        return found

    def maps(self, row: int) -> tuple[WordMaps, LevelMaps | None]:
        """Return the attention maps of a pair; the second is None for a model without context-aware modules.

        Call it only if ``has_maps``.
        """
        batch, output = self._predict([row], return_maps=True)
        maps = output.maps
        assert isinstance(maps, AttentionMaps)
        clips, duration_sec = int(batch.clip_mask.sum()), float(batch.duration_sec[0])

        def edges(step: int) -> Floats:
            return np.minimum(np.arange(0, clips + step, step), clips) / clips * duration_sec

        def numbers(weights: Tensor, *shape: int) -> Floats:
            cut: Floats = weights[0].float().cpu().numpy()[tuple(map(slice, shape))]
            return cut

        step = maps.clips_per_step
        words = self.words(row)
        sides = [edges(step * 2**p) for p in range(len(maps.levels))]
        levels = [(side, numbers(m, len(side) - 1, len(side) - 1)) for side, m in zip(sides, maps.levels, strict=True)]
        shape = len(edges(step)) - 1, len(words)
        return (
            WordMaps(
                words=words, edges_sec=edges(step), query=numbers(maps.query, *shape), video=numbers(maps.video, *shape)
            ),
            LevelMaps(model=self.name, levels=levels) if levels else None,
        )

    def words(self, row: int) -> list[str]:
        """Return the words of a query that the model reads, with a mark at those that it does not know."""
        words = words_of(self.dataset.moments[row].query, max_words=self.grounder.max_words)
        known = self.grounder.vocabulary.rows(words)
        return [f"{word} (?)" if at == UNKNOWN else word for word, at in zip(words, known, strict=True)]

    def _predict(self, rows: Sequence[int], **options: bool) -> tuple[GroundingBatch, GroundingOutput]:
        batch = self.dataset[rows].to(self.grounder.device)
        return batch, self.grounder.run(batch, **options)


def _word_weights(maps: AttentionMaps, place: int, attention: Floats) -> Floats:
    """Return the mean of a pair's S_q over its clips, weighted with their attention."""
    steps = np.add.reduceat(attention, np.arange(0, len(attention), maps.clips_per_step))
    weights: Floats = steps @ maps.query[place, : len(steps)].float().cpu().numpy()
    return weights


def open_models(cfg: DictConfig) -> tuple[GroundingDataModule, list[Observer]]:
    """Read the corpus of ``cfg``, and return it with the model of ``cfg.checkpoint`` and, if set, of ``cfg.against``.

    Raises:
        ConfigError: a value is invalid
        DataError: a checkpoint or the corpus is malformed, or the features are of another extractor
    """
    checkpoint = load_checkpoint(cfg.checkpoint)
    other = load_checkpoint(cfg.against) if cfg.against else None
    is_other_corpus(cfg, checkpoint)
    loading = Loading(
        batch_size=PAIRS, seed=cfg.seed, evaluation_order="video", blind=cfg.dataset.blind, tested=cfg.split
    )
    datamodule = build_datamodule(cfg.dataset, cfg.sampling, loading, "cpu", checkpoint.vocabulary)
    datamodule.prepare_data()
    datamodule.setup()
    check_extractor(checkpoint.extractor, datamodule.extractor, cfg.dataset.features.path)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    grounder = Grounder(checkpoint, config=cfg, vocabulary=datamodule.vocabulary, device=device)
    observers = [Observer(cfg.model_name, grounder, datamodule.dataset(datamodule.test_split))]
    if other:
        name = str(other.config.get("model_name"))
        name = f"other {name}" if name == cfg.model_name else name
        observers.append(observers[0].beside(other, datamodule, name))
    return datamodule, observers
