"""Search the videos of an index."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cpnet.data.features.pack import restore
from cpnet.data.features.packed import PackedFeatures
from cpnet.errors import ConfigError, DataError
from cpnet.grounder import Grounder
from cpnet.grounding.answer import Hit
from cpnet.searching.similarity import cosines, smoothed
from cpnet.terminal import Progress, silent
from cpnet.video.backbones.backbone import JointBackbone
from cpnet.video.encode import EncodedVideo

TIMED = 3  # videos by which the time of all is estimated

log = logging.getLogger(__name__)


class VideoIndex:
    """Searches many videos. It can stay open while another process updates the index: it keeps its rows.

    Attributes:
        ids: the videos, in the order of their rows
        rows: of all videos, memory-mapped, of shape (R, V)
        counts: rows of each video
        durations: seconds of each video
        paths: file of each video, None if unknown
        extractor: what made the rows

    Example::

        index = VideoIndex.open("my_index")
        for hit in index.search("she opens the fridge", Grounder.from_checkpoint("outputs/RUN/checkpoints/best.ckpt")):
            print(hit.video, hit.start_sec, hit.end_sec, hit.score)
    """

    def __init__(self, store: PackedFeatures) -> None:
        if store.extractor is None:
            raise DataError(f"{store.path} does not say what extracted its rows")
        self.path, self.extractor = store.path, store.extractor
        self.ids = sorted(store.ids(), key=store.start)
        self.rows: NDArray[np.floating] = store.table[:-1]
        self.counts = np.array([store.length(name) for name in self.ids])
        self._starts = np.cumsum(self.counts) - self.counts
        row_sec = self.extractor.stride / self.extractor.fps
        files = [store.files.get(name) for name in self.ids]
        self.paths = [file.path if file else None for file in files]
        self.durations = [
            file.duration_sec if file else count * row_sec for file, count in zip(files, self.counts, strict=True)
        ]

    @classmethod
    def open(cls, path: str | Path) -> VideoIndex:
        """Open an index.

        Raises:
            DataError: there is no index, or it is damaged
        """
        path = Path(path).expanduser()
        restore(path)
        build = f"python -m cpnet.search index={path} videos=FOLDER"
        if not path.exists():
            raise DataError(f"there is no index at {path}; build it: {build}")
        try:
            return cls(PackedFeatures(path=path))
        except DataError as error:
            raise DataError(f"{error}\n  If it is an index, remove {path} and build it again: {build}") from error

    def __len__(self) -> int:
        return len(self.ids)

    def search(
        self,
        sentence: str,
        grounder: Grounder | None = None,
        *,
        backbone: JointBackbone | None = None,
        top: int = 10,
        progress: Progress = silent,
    ) -> list[Hit]:
        """Return the moments that a sentence describes, best first, at most one of each video.

        With a joint backbone, videos are chosen and scored by the similarity of their rows to the sentence. Without
        one, the grounder answers about every video, and its scores decide.

        Args:
            sentence: the query
            grounder: finds the moment within a video; None: ``Grounder.zero_shot`` of the backbone
            backbone: the joint backbone that made the rows
            top: the number of moments
            progress: wraps the ids of the videos that the grounder is asked about

        Raises:
            ConfigError: neither grounder nor backbone is given, or top is below 1
            DataError: the sentence is empty, or the rows are of another kind than those of grounder or backbone
        """
        if top < 1:
            raise ConfigError(f"top must be 1 or more; got {top}")
        if not sentence.split():
            raise DataError("the sentence is empty; say what the moment shows")
        for kind in (grounder and grounder.extractor, backbone and backbone.extractor()):
            if kind and kind != self.extractor:
                raise DataError(
                    f"{self.path} has rows of {self.extractor}, not of {kind}; build another index: python -m "
                    f"cpnet.search index=OTHER videos=FOLDER backbone={kind.backbone} fps={kind.fps:g}"
                )
        if backbone:
            model = grounder or Grounder.zero_shot(backbone)
            scores = self.similarities(backbone.encode_text([sentence]))
            best = islice(self._present(np.argsort(-scores, kind="stable").tolist()), top)
            return [self._ask(model, sentence, at, float(scores[at])) for at in best]
        if grounder is None:
            raise ConfigError(f"backbone={self.extractor.backbone} knows no sentences; train a model on its rows")
        places, hits, started = list(self._present(range(len(self)))), [], time.perf_counter()
        for at, _ in zip(places, progress([self.ids[at] for at in places], "searching"), strict=True):
            hits.append(self._ask(grounder, sentence, at))
            if len(hits) == TIMED < len(places):
                seconds = (time.perf_counter() - started) / TIMED
                log.info("asking about %d videos, about %.0f s in all", len(places), len(places) * seconds)
        return sorted(hits, key=lambda hit: -hit.score)[:top]

    def similarities(self, vector: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the largest similarity of each video's rows to a sentence. Shape: vector (1, V) -> (videos,)"""
        best: NDArray[np.float64] = np.maximum.reduceat(
            smoothed(cosines(self.rows, vector[0]), self.counts), self._starts
        )
        return best

    def places(self) -> Iterator[dict[str, str | float]]:
        """Yield for each row ``video``, ``path``, ``start_sec`` and ``end_sec``, which a vector server stores."""
        for name, path, count, seconds in zip(self.ids, self.paths, self.counts, self.durations, strict=True):
            edges = np.linspace(0, seconds, count + 1).tolist()
            for start, end in pairwise(edges):
                yield {"video": name, "path": path or "", "start_sec": start, "end_sec": end}

    def _present(self, places: Iterable[int]) -> Iterator[int]:
        """Yield the videos whose files were not removed. If their folder is not there either, it was moved."""
        for at in places:
            path = Path(self.paths[at] or ".")
            if path.parent.is_dir() and not path.exists():
                log.info("skipping %s, which was removed", path)
            else:
                yield at

    def _ask(self, grounder: Grounder, sentence: str, at: int, score: float | None = None) -> Hit:
        """Return the best moment of a video, with the grounder's score if there is no other."""
        first, count = self._starts[at], self.counts[at]
        rows = self.rows[first : first + count].astype(np.float16)  # as in training; loses no digit
        video = EncodedVideo(rows=rows, duration_sec=float(self.durations[at]), extractor=self.extractor)
        (found,) = grounder.ground(video, sentence)
        if score is not None:
            found = replace(found, score=score)
        return Hit(**vars(found), video=self.ids[at], path=self.paths[at])
