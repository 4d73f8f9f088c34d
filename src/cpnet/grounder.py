"""A trained model: find the moments of a video that sentences describe."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from cpnet.batch import PADDING, GroundingBatch, GroundingOutput
from cpnet.config import register_schemas
from cpnet.data.extractor import check_extractor
from cpnet.data.sampling import Sampling
from cpnet.data.vocabulary import Vocabulary
from cpnet.errors import ConfigError, DataError
from cpnet.grounding.answer import Answer, FoundMoment
from cpnet.runs.checkpoint import Checkpoint, load_checkpoint
from cpnet.training.instantiate import instantiate
from cpnet.video.backbones import Backbone, load_backbone
from cpnet.video.encode import EncodedVideo, encode_video
from cpnet.video.sandbox import Limits

Video = str | Path | EncodedVideo | NDArray[Any] | Tensor  # a file, its rows, or rows alone

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
        for moment in grounder.ground("kitchen.mp4", ["she opens the fridge", "water boils"], top=3):
            print(moment.query, moment.start_sec, moment.end_sec, moment.score)
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
        self._backbone: Backbone | None = None  # loaded for the first file
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

    def encode(
        self,
        video: str | Path,
        *,
        limits: Limits | None = None,
        progress: Callable[[float], object] = lambda second: None,
    ) -> EncodedVideo:
        """Encode a video file as the rows that the model was trained on; ask it as many sentences as you like.

        Args:
            video: the file
            limits: decode in a process of its own with these limits, for a file of unknown origin
            progress: called with the second that is reached

        Raises:
            ConfigError: the backbone's package is missing
            DataError: it is unknown what extracted the features of training, or the file cannot be decoded
        """
        if self.extractor is None:
            raise DataError(
                "it is unknown what extracted the features of training, so a video file cannot be encoded; pass its "
                "rows, or train on features of python -m cpnet.prepare action=extract"
            )
        if self._backbone is None:
            backbone = load_backbone(self.extractor.backbone, fps=self.extractor.fps, threads=torch.get_num_threads())
            check_extractor(self.extractor, backbone.extractor(), video)
            self._backbone = backbone
        return encode_video(video, self._backbone, limits=limits, progress=progress)

    def ground(
        self,
        video: Video,
        sentences: str | Sequence[str],
        *,
        duration_sec: float | None = None,
        top: int = 1,
    ) -> list[FoundMoment]:
        """Return the moments of a video that each sentence describes: see ``answer``, whose moments it returns."""
        answers = self.answer(video, sentences, duration_sec=duration_sec, top=top)
        return [moment for answer in answers for moment in answer.moments]

    def answer(
        self,
        video: Video,
        sentences: str | Sequence[str],
        *,
        duration_sec: float | None = None,
        top: int = 1,
    ) -> list[Answer]:
        """Answer sentences about a video, each with its best moments.

        Words outside the vocabulary are encoded as unknown. The video is encoded once.

        Args:
            video: a file, an encoded video, or rows of shape (rows, V) from the backbone of training
            sentences: one or more queries
            duration_sec: length of the video, needed with rows alone
            top: the number of moments of each sentence

        Raises:
            ConfigError: the backbone's package is missing
            DataError: the video, its duration or a sentence is malformed, the rows are of another kind than those of
                training, or a prediction is not finite
        """
        if isinstance(video, (str, Path)):
            video = self.encode(video)
        if isinstance(video, EncodedVideo):
            check_extractor(self.extractor, video.extractor, "video")
            rows, duration_sec = torch.from_numpy(video.rows), video.duration_sec
        elif duration_sec is None:
            raise DataError("rows alone do not say how long the video is; pass duration_sec")
        else:
            rows = torch.as_tensor(video)
        asked = [sentences] if isinstance(sentences, str) else list(sentences)
        output = self._predict(rows, duration_sec, asked)
        ranked = output.ranked.cpu().double() * duration_sec
        log_attention = torch.zeros(len(asked), 0) if output.log_attention is None else output.log_attention
        return [
            Answer(
                query=query,
                moments=tuple(
                    FoundMoment(query=query, start_sec=start, end_sec=end, score=1.0)
                    for start, end in spans[:top].tolist()
                ),
                attention=log_attention[index].exp().cpu().numpy(),
            )
            for index, (query, spans) in enumerate(zip(asked, ranked, strict=True))
        ]

    def spans(self, features: Any, duration_sec: float, sentences: Sequence[str]) -> Tensor:
        """Return the ranked spans of the model for each sentence, best first, in seconds.

        Shape: features (rows, V) -> (B, N, 2) float64 for B sentences

        Raises:
            DataError: see ``answer``
        """
        return self._predict(features, duration_sec, sentences).ranked.cpu().double() * duration_sec

    @torch.inference_mode()
    def _predict(self, features: Any, duration_sec: float, sentences: Sequence[str]) -> GroundingOutput:
        batch = self._batch(self._rows(features), duration_sec, sentences).to(self.device)
        shares = bool(getattr(self.model, "shares_videos", False))
        output: GroundingOutput = self.model(batch if shares else batch.per_pair())
        if not output.ranked.isfinite().all():
            raise DataError("the prediction is not finite; check the features for values far beyond those of training")
        return output

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
