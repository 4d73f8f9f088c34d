"""Search the videos of an index, which is the packed store that ``cpnet.video.extract`` writes."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cpnet.data.features.pack import restore
from cpnet.data.features.packed import PackedFeatures, is_packed
from cpnet.data.features.source import VideoFile
from cpnet.errors import ConfigError, DataError
from cpnet.grounder import Grounder
from cpnet.grounding.answer import Hit
from cpnet.runs.checkpoint import load_checkpoint
from cpnet.runs.folder import chosen_checkpoint
from cpnet.terminal import track
from cpnet.video.backbones.backbone import JointBackbone
from cpnet.video.encode import EncodedVideo

BLOCK = 4096  # rows of a product; larger blocks leave the processor's cache
SMOOTHED = 3  # rows of a mean, so that a single odd frame does not decide
TIMED = 3  # videos by which the time of all is estimated

log = logging.getLogger(__name__)


def row_kind(path: Path, backbone: str | None, fps: float | None, checkpoint: str | None) -> tuple[str, float | None]:
    """Return backbone and rate of new rows: those that are set, else those of the index, else of the model's training.

    Raises:
        ConfigError: neither says it
        DataError: the index or the checkpoint cannot be read
    """
    restore(path)
    if path.exists() and not is_packed(path):
        raise DataError(f"{path} is no index; set index=NEW to a folder that does not exist")
    kind = VideoIndex.open(path).extractor if path.exists() else None
    if kind is None and backbone:
        return backbone, fps
    kind = kind or load_checkpoint(chosen_checkpoint(checkpoint)).extractor
    if kind is None:
        raise ConfigError(
            "the checkpoint does not say which backbone extracted the features of its training; set backbone=NAME"
        )
    return backbone or kind.backbone, fps or kind.fps


class VideoIndex:
    """Searches many videos. Stays usable while another process adds videos: it keeps the rows that it opened.

    Attributes:
        ids: the videos, in the order of their rows
        rows: of all videos, memory-mapped and read-only, of shape (R, V)
        counts: rows of each video
        files: path, if known, and duration of each video
        extractor: what made the rows
    """

    def __init__(self, store: PackedFeatures) -> None:
        if store.extractor is None:
            raise DataError(f"{store.path} does not say what extracted its rows; build the index with cpnet.search")
        self.path, self.extractor = store.path, store.extractor
        self.ids = sorted(store.ids(), key=store.start)
        self.rows: NDArray[np.floating] = store.table[:-1]
        self.counts = np.array([store.length(name) for name in self.ids])
        self._ends = np.cumsum(self.counts)
        row_sec = self.extractor.stride / self.extractor.fps
        unknown = [VideoFile("", float(count * row_sec)) for count in self.counts]
        self.files = [store.files.get(name, file) for name, file in zip(self.ids, unknown, strict=True)]

    @classmethod
    def open(cls, path: str | Path) -> VideoIndex:
        """Open an index.

        Raises:
            DataError: there is none, or it is damaged
        """
        path = Path(path).expanduser()
        restore(path)
        if not is_packed(path):  # it may be the folder of the videos: never advise to remove it
            raise DataError(f"there is no index at {path}; build one: python -m cpnet.search index=NEW videos=FOLDER")
        try:
            return cls(PackedFeatures(path=path))
        except DataError as error:
            raise DataError(f"{error}\n  For an index: remove {path}, and build it again with videos=FOLDER") from error

    def search(
        self,
        sentence: str,
        grounder: Grounder | None = None,
        *,
        backbone: JointBackbone | None = None,
        top: int = 10,
    ) -> list[Hit]:
        """Return the moments that a sentence describes, best first, at most one of each video.

        Args:
            sentence: the query
            grounder: finds the moment within a video; None: ``Grounder.zero_shot`` of the backbone
            backbone: the joint backbone of the rows, by whose similarity videos are chosen and scored; None: the
                grounder is asked about every video, and its scores decide
            top: the number of moments

        Raises:
            ConfigError: neither grounder nor backbone is given, or top is below 1
            DataError: the sentence is empty, or the rows are of another extractor than those of grounder or backbone
        """
        if top < 1:
            raise ConfigError(f"top must be 1 or more; got {top}")
        if not sentence.split():
            raise DataError("the sentence is empty; say what the moment shows")
        kinds = [grounder.extractor if grounder else None, backbone.extractor() if backbone else None]
        for kind in filter(None, kinds):
            if kind != self.extractor:
                raise DataError(
                    f"{self.path} has rows of {self.extractor}, not of {kind}; build another index: python -m "
                    f"cpnet.search index=OTHER videos=FOLDER backbone={kind.backbone} fps={kind.fps:g}"
                )
        if backbone:
            model = grounder or Grounder.zero_shot(backbone)
            scores = self.similarities(*backbone.encode_text([sentence]))
            best = islice(filter(self._is_present, np.argsort(-scores, kind="stable").tolist()), top)
            return [replace(self._ask(model, sentence, at), score=float(scores[at])) for at in best]
        if grounder is None:
            raise ConfigError(
                f"backbone={self.extractor.backbone} encodes frames only; pass a Grounder trained on its features"
            )
        places, hits, started = [*filter(self._is_present, range(len(self.ids)))], list[Hit](), time.perf_counter()
        for at in track(places, "searching"):
            hits.append(self._ask(grounder, sentence, at))
            seconds = (time.perf_counter() - started) / len(hits) * len(places)
            if len(hits) == TIMED and seconds > 2:
                log.info("asking the model about each of %d videos takes about %.0f s", len(places), seconds)
        return sorted(hits, key=lambda hit: -hit.score)[:top]

    def similarities(self, vector: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the largest similarity of each video's rows to a sentence.

        It is the cosine, averaged over a row and its neighbours in the video. Shape: vector (V,) -> (videos,)
        """
        cosines, vector = np.empty(len(self.rows)), vector / np.linalg.norm(vector).clip(1e-30)
        for first in range(0, len(self.rows), BLOCK):
            block = self.rows[first : first + BLOCK].astype(np.float32, copy=False)
            norms = np.sqrt(np.einsum("rv,rv->r", block, block))
            cosines[first : first + BLOCK] = block @ vector / norms.clip(1e-30)
        place, starts, half = np.arange(len(cosines)), self._ends - self.counts, SMOOTHED // 2
        after = np.minimum(place + half + 1, np.repeat(self._ends, self.counts))
        before = np.maximum(place - half, np.repeat(starts, self.counts))
        total = np.concatenate([[0.0], cosines.cumsum()])
        return np.maximum.reduceat((total[after] - total[before]) / (after - before), starts)

    def _is_present(self, at: int) -> bool:
        """Return whether the file of a video was not removed. If its folder is not there either, it was moved."""
        path = Path(self.files[at].path)
        return path.exists() or not path.parent.is_dir()

    def _ask(self, grounder: Grounder, sentence: str, at: int) -> Hit:
        """Return the best moment of a video."""
        file, rows = self.files[at], self.rows[self._ends[at] - self.counts[at] : self._ends[at]]
        # float16 as in training; no digit is lost, because the rows were encoded so.
        video = EncodedVideo(rows=rows.astype(np.float16), duration_sec=file.duration_sec, extractor=self.extractor)
        (found,) = grounder.ground(video, sentence)
        return Hit(**vars(found), video=self.ids[at], path=file.path)
