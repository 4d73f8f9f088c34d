"""A trained model: find the moments of a video that sentences describe."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from cpnet.batch import PADDING, GroundingBatch, GroundingOutput
from cpnet.config import register_schemas
from cpnet.data.extractor import Extractor, check_extractor
from cpnet.data.sampling import Sampling
from cpnet.data.vocabulary import Vocabulary
from cpnet.errors import ConfigError, DataError
from cpnet.runs.checkpoint import Checkpoint, load_checkpoint
from cpnet.training.instantiate import instantiate

PREFIX = "model."  # of the network's weights within the LightningModule


class Grounder:
    """Grounds sentences in videos with the model of a checkpoint.

    Args:
        checkpoint: the trained model
        config: replaces the checkpoint's configuration; the weights must still fit
        vocabulary: replaces the checkpoint's vocabulary; must extend it
        device: where the model runs

    Raises:
        ConfigError: the configuration is invalid or the weights do not fit the model

    Example::

        grounder = Grounder.from_checkpoint("outputs/RUN/checkpoints/best.ckpt")
        spans = grounder.ground(features, duration_sec=30.0, sentences=["she opens the fridge"])
        start, end = spans[0, 0].tolist()  # seconds
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        config: DictConfig | None = None,
        vocabulary: Vocabulary | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        register_schemas()  # for the resolvers of interpolations
        config = OmegaConf.create(checkpoint.config) if config is None else config
        self.vocabulary = vocabulary or checkpoint.vocabulary
        self.extractor = checkpoint.extractor
        self.device = torch.device(device)
        try:
            self.model: nn.Module = instantiate(config.model, word_vectors=self.vocabulary.vectors)
            self.sampling: Sampling = instantiate(config.sampling)
            dataset = config.dataset
            self.video_dim, self.max_words, self.blind = dataset.features.dim, dataset.max_words, dataset.blind
        except OmegaConfBaseException as error:
            raise ConfigError(f"{checkpoint.path}: incomplete configuration: {error}") from error
        try:
            self.model.load_state_dict({key.removeprefix(PREFIX): each for key, each in checkpoint.weights.items()})
        except RuntimeError as error:
            mismatch = str(error).splitlines()[-1].strip()
            raise ConfigError(
                f"{checkpoint.path}: the weights do not fit the model ({mismatch}); remove overrides of the model"
            ) from error
        self.model.eval().to(self.device)

    @classmethod
    def from_checkpoint(cls, path: str | Path, device: torch.device | str = "cpu") -> Grounder:
        """Load a trained model. Neither its corpus nor its word vectors are needed.

        Raises:
            ConfigError: the checkpoint's configuration is invalid
            DataError: the file is not an intact checkpoint
        """
        return cls(load_checkpoint(path), device=device)

    @torch.inference_mode()
    def ground(
        self, features: Any, duration_sec: float, sentences: Sequence[str], *, extractor: Extractor | None = None
    ) -> Tensor:
        """Return the ranked spans of each sentence in one video, best first, in seconds.

        Words outside the vocabulary are encoded as unknown. The video is encoded once if the model supports it.

        Args:
            features: rows of the video, from the backbone that the model was trained on
            duration_sec: length of the video
            sentences: the queries
            extractor: what extracted the features; None if unknown

        Shape: features (rows, V) -> (B, N, 2) float64 for B sentences

        Raises:
            DataError: features, duration or a sentence are malformed, the features are of another kind than those
                of training, or a prediction is not finite
        """
        check_extractor(self.extractor, extractor, "features")
        if isinstance(sentences, str):
            sentences = [sentences]
        batch = self._batch(self._rows(features), duration_sec, sentences).to(self.device)
        shares = bool(getattr(self.model, "shares_videos", False))
        output: GroundingOutput = self.model(batch if shares else batch.per_pair())
        ranked = output.ranked.cpu().double()  # on the host: Apple's MPS has no float64
        if not ranked.isfinite().all():
            raise DataError("the prediction is not finite; check the features for values far beyond those of training")
        return ranked * duration_sec

    def _rows(self, features: Any) -> Tensor:
        rows = torch.as_tensor(features, dtype=torch.float32)
        if rows.ndim != 2 or not len(rows) or rows.shape[1] != self.video_dim:
            raise DataError(
                f"features must have shape (rows, {self.video_dim}), as in training; got {tuple(rows.shape)}"
            )
        if not rows.isfinite().all():
            raise DataError("features must be finite; some values are NaN or infinite")
        return torch.zeros_like(rows) if self.blind == "video" else rows

    def _batch(self, rows: Tensor, duration_sec: float, sentences: Sequence[str]) -> GroundingBatch:
        if not 0 < duration_sec < float("inf"):
            raise DataError(f"duration_sec must be positive and finite; got {duration_sec}")
        if not sentences:
            raise DataError("sentences is empty; pass at least one")
        queries = [torch.tensor(self.vocabulary.encode(each, max_words=self.max_words)) for each in sentences]
        pairs = len(queries)
        table = torch.cat([rows, torch.zeros_like(rows[:1])])  # the last row is padding, see Sampling
        video, real = self.sampling(table, torch.tensor([0]), torch.tensor([len(rows)]))
        words = torch.tensor([len(query) for query in queries])
        query = pad_sequence(queries, batch_first=True, padding_value=PADDING)
        return GroundingBatch(
            video=video,
            video_mask=torch.arange(video.shape[1]) < real[:, None],
            query=torch.full_like(query, PADDING) if self.blind == "query" else query,
            query_mask=torch.arange(query.shape[1]) < words[:, None],
            windows=torch.zeros(pairs, 0, 2),
            windows_sec=torch.zeros(pairs, 0, 2, dtype=torch.float64),
            duration_sec=torch.full((pairs,), duration_sec, dtype=torch.float64),
            index=torch.arange(pairs),
            video_index=torch.zeros(pairs, dtype=torch.int64),
        )
