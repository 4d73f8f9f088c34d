"""A trained model: find the moments of a video that sentences describe."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import Tensor, nn

from cpnet.batch import GroundingBatch, GroundingOutput
from cpnet.config import register_schemas
from cpnet.config.instantiate import instantiate
from cpnet.data.dataset import GroundingDataset
from cpnet.data.extractor import Extractor, check_extractor
from cpnet.data.features.joined import normalise
from cpnet.data.features.placement import TableFeatures
from cpnet.data.moment import Moment
from cpnet.data.sampling import Pick, Sampling
from cpnet.data.vocabulary import Vocabulary
from cpnet.errors import ConfigError, DataError
from cpnet.grounding.answer import Answer, FoundMoment
from cpnet.grounding.candidates import Candidates, find_candidates, soft_nms
from cpnet.grounding.windows import Windows
from cpnet.grounding.zero_shot import empty_checkpoint, encode_sentences, joint
from cpnet.runs.checkpoint import Checkpoint, load_checkpoint
from cpnet.video.backbones import Backbone, JointBackbone, load_backbone
from cpnet.video.encode import EncodedVideo, encode_video
from cpnet.video.sandbox import Limits

Video = str | Path | EncodedVideo | NDArray[Any] | Tensor  # a file, its rows, or rows alone

PREFIX = "model."  # of the network's weights within the LightningModule
PAIRS = 64  # pairs of a sentence and a window in a batch, whatever their number


class Grounder:
    """Grounds sentences in videos with the model of a checkpoint.

    Args:
        checkpoint: the trained model
        config: replaces the checkpoint's configuration; the weights must still fit
        vocabulary: replaces the checkpoint's vocabulary; must extend it
        word_vectors: a file of the word vectors of training, in which words outside the vocabulary are looked up
        backbone_weights: weights of the backbone, for video files, unless it is ``efficientnet_lite0``
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
        word_vectors: str | Path | None = None,
        backbone_weights: str | Path | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        register_schemas()  # for the resolvers of interpolations
        config = OmegaConf.create(checkpoint.config) if config is None else config
        self.vocabulary = vocabulary or checkpoint.vocabulary
        self.word_vectors = None if word_vectors is None else Path(word_vectors).expanduser()
        self._looked_up: set[str] = set()  # words that the file of vectors was searched for
        self.path = checkpoint.path
        self.extractor, self.longest_sec = checkpoint.extractor, checkpoint.longest_sec
        self.backbone_weights = backbone_weights
        self._backbone: Backbone | None = None  # loaded for the first file
        self._joint: JointBackbone | None = None  # replaces training
        self._encoded: list[str] = []  # sentences that it encoded
        self.device = torch.device(device)
        try:
            self._model_config = config.model
            self.model: nn.Module = instantiate(config.model, word_vectors=self.vocabulary.vectors)
            self.sampling: Sampling = instantiate(config.sampling)
            dataset = config.dataset
            self.video_dim, self.max_words, self.blind = dataset.features.dim, dataset.max_words, dataset.blind
            self.normalise = dataset.features.get("normalise", False)  # the rows of files, as those of training
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
    def from_checkpoint(
        cls,
        path: str | Path,
        *,
        word_vectors: str | Path | None = None,
        backbone_weights: str | Path | None = None,
        device: torch.device | str = "cpu",
    ) -> Grounder:
        """Load a trained model, without its corpus; for the arguments see ``Grounder``.

        Raises:
            ConfigError: the checkpoint's configuration is invalid
            DataError: the file is not an intact checkpoint
        """
        checkpoint = load_checkpoint(path)
        return cls(checkpoint, word_vectors=word_vectors, backbone_weights=backbone_weights, device=device)

    @classmethod
    def zero_shot(cls, backbone: Backbone, *, device: torch.device | str = "cpu") -> Grounder:
        """Answer without training, by the similarity of frames and sentences: see ``cpnet.models.ZeroShot``.

        Raises:
            ConfigError: the backbone is no ``JointBackbone``, which encodes frames and sentences
        """
        grounder = cls(empty_checkpoint(joint(backbone)), device=device)
        grounder._backbone = grounder._joint = joint(backbone)
        return grounder

    def known_extractor(self) -> Extractor:
        """Return what extracted the features of training.

        Raises:
            ConfigError: it is unknown
        """
        if self.extractor is None:
            raise ConfigError(
                f"{self.path} was trained on features of unknown origin, so it cannot answer about files; train on "
                "features of python -m cpnet.prepare action=extract, as make demo does, or ask about features: "
                "dataset=NAME in cpnet.predict"
            )
        return self.extractor

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
            ConfigError: it is unknown what extracted the features of training, or the backbone's package is missing
            DataError: the file cannot be decoded
        """
        if self._backbone is None:
            kind, threads = self.known_extractor(), torch.get_num_threads()
            backbone = load_backbone(kind.backbone, fps=kind.fps, threads=threads, weights=self.backbone_weights)
            check_extractor(kind, backbone.extractor(), video)
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

        The first moment of a video no longer than those of training is the model's own prediction, whatever ``top``
        is. A longer video is split into overlapping windows of that length. The video is encoded once.

        Args:
            video: a file, an encoded video, or rows of shape (rows, V) as the model was trained on: if that was with
                ``dataset.features.normalise=true``, each divided by its norm
            sentences: one or more queries
            duration_sec: length of the video, needed with rows alone
            top: the largest number of moments of each sentence

        Raises:
            ConfigError: the backbone's package is missing
            DataError: the video, its duration or a sentence is malformed, the rows are of another extractor, the file
                of word vectors cannot be read, or a prediction is not finite
        """
        if top < 1:
            raise DataError(f"top must be 1 or more; got {top}")
        if isinstance(video, (str, Path)):
            video = self.encode(video)
        if isinstance(video, EncodedVideo):
            check_extractor(self.extractor, video.extractor, "video")
            duration_sec = video.duration_sec
            video = normalise(video.rows) if self.normalise else video.rows
        elif duration_sec is None:
            raise DataError("rows alone do not say how long the video is; pass duration_sec")
        rows = self._rows(video)
        asked = [sentences] if isinstance(sentences, str) else list(sentences)
        windows = Windows.over(len(rows), duration_sec, self.longest_sec)
        found: list[list[Candidates]] = [[] for _ in asked]
        for batch, output in self._predict(rows, windows, asked):
            for number, candidates in zip(batch.index.tolist(), find_candidates(batch, output), strict=True):
                found[number % len(asked)].append(candidates)
        return [self._answer(query, each, windows, top) for query, each in zip(asked, found, strict=True)]

    def _answer(self, query: str, found: Sequence[Candidates], windows: Windows, top: int) -> Answer:
        """Rank the candidates of all windows."""
        starts, scores = windows.start_sec, [each.scores for each in found]
        spans = [start + each.spans * windows.length_sec for start, each in zip(starts, found, strict=True)]
        kept = found[0].ranked if len(found) == 1 else 0  # the model has ranked those of one window alone
        best = soft_nms(np.concatenate(spans), np.concatenate(scores), top=top, kept=kept)
        moments = (FoundMoment(query=query, start_sec=start, end_sec=end, score=score) for (start, end), score in best)
        attention = windows.join([each.attention for each in found], [max(0.0, each.max()) for each in scores])
        unknown = () if self._joint else self.vocabulary.unknown(query)
        return Answer(query=query, moments=tuple(moments), attention=attention, unknown_words=unknown)

    def spans(self, features: Any, duration_sec: float, sentences: Sequence[str]) -> Tensor:
        """Return the ranked spans of the model for each sentence, best first, in seconds, without windows.

        Shape: features (rows, V) -> (B, N, 2) float64 for B sentences

        Raises:
            DataError: see ``answer``
        """
        rows = self._rows(features)
        outputs = self._predict(rows, Windows.over(len(rows), duration_sec), sentences)
        return torch.cat([output.ranked.cpu().double() for _, output in outputs]) * duration_sec

    @torch.inference_mode()
    def _predict(
        self, rows: NDArray[np.float32], windows: Windows, sentences: Sequence[str]
    ) -> Iterator[tuple[GroundingBatch, GroundingOutput]]:
        """Yield batches of all pairs of a window and a sentence; the sentences of the first window come first."""
        if not sentences:
            raise DataError("sentences is empty; pass at least one")
        self.look_up(sentences)
        pairs = [
            Moment(qid="", video=str(window), query=query, windows_sec=(), duration_sec=windows.length_sec)
            for window in range(len(windows.starts))
            for query in sentences
        ]
        dataset = GroundingDataset(
            pairs,
            features=TableFeatures(np.pad(rows, ((0, 1), (0, 0))), starts=windows.starts, counts=windows.counts),
            videos={pair.video: int(pair.video) for pair in pairs},
            sampling=Pick(clips=len(rows)) if self._joint else self.sampling,  # without training, each row is a clip
            vocabulary=self.vocabulary,
            max_words=self.max_words,
            blind=self.blind,
        )
        dataset.share_videos = True
        for first in range(0, len(pairs), PAIRS):
            batch = dataset[range(first, min(first + PAIRS, len(pairs)))].to(self.device)
            yield batch, self.run(batch)

    @torch.inference_mode()
    def run(self, batch: GroundingBatch, **options: bool) -> GroundingOutput:
        """Return the model's output for a batch on its device; ``options`` are arguments of its ``forward``.

        Raises:
            DataError: a prediction is not finite
        """
        output: GroundingOutput = self.model(batch.for_model(self.model), **options)
        if not output.ranked.isfinite().all():
            raise DataError("a prediction is not finite; check the features for values far beyond those of training")
        return output

    def _rows(self, features: Any) -> NDArray[np.float32]:
        if isinstance(features, np.ndarray) and not features.flags.writeable:
            features = features.copy()  # torch warns about read-only arrays
        rows = torch.as_tensor(features, dtype=torch.float32)
        if rows.ndim != 2 or not len(rows) or rows.shape[1] != self.video_dim:
            raise DataError(
                f"features must have shape (rows, {self.video_dim}), as in training; got {tuple(rows.shape)}"
            )
        if not rows.isfinite().all():
            raise DataError("features must be finite; some values are NaN or infinite")
        return rows.detach().cpu().numpy()

    def look_up(self, sentences: Sequence[str]) -> None:
        """Prepare for sentences: encode them without training, else look their unknown words up in the word vectors.

        ``answer`` calls it.

        Raises:
            DataError: the file of word vectors cannot be read or does not fit
        """
        if self._joint and self._encoded != [*sentences]:  # the same are often asked about many videos
            self.model.sentences = encode_sentences(self._joint, sentences).to(self.device)
            self._encoded = [*sentences]
        if self.word_vectors is None:
            return
        unknown = {word for each in sentences for word in self.vocabulary.unknown(each)} - self._looked_up
        if not unknown:
            return
        extended = self.vocabulary.extend(sentences, glove=self.word_vectors, compare=True)
        self._looked_up |= unknown
        if extended is not self.vocabulary:
            weights, self.vocabulary = self.model.state_dict(), extended
            self.model = instantiate(self._model_config, word_vectors=extended.vectors)
            self.model.load_state_dict(weights)
            self.model.eval().to(self.device)
