"""A small synthetic corpus, generated from a seed and written in formats of real corpora.

An action is a prototype in feature space. A video is a sequence of distinct actions, plus a constant offset and noise
that is correlated in time. A query names one action. Every two actions share their objects, so that verbs matter. Any
action can occur anywhere in a video, so that neither the words alone nor the video alone reveal the answer.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from cpnet.data.corpora.generated import GeneratedCorpus, check_options
from cpnet.data.corpora.writers import (
    FPS,
    Features,
    Splits,
    write_charades_sta,
    write_glove,
    write_hdf5,
    write_jsonl,
    write_npy,
)
from cpnet.data.moment import Moment
from cpnet.data.tokens import tokenize
from cpnet.options import SyntheticOptions

# Format of the video ids, as in the real corpus, and the writer
ANNOTATIONS: dict[str, tuple[str, Callable[[Path, Splits], None]]] = {
    "charades_sta": ("S{:04d}", write_charades_sta),
    "jsonl": ("video_{:05d}", write_jsonl),
}
LAYOUTS: dict[str, Callable[[Path, Features], None]] = {"hdf5_flat": write_hdf5, "npy": write_npy}

QUERIES_PER_VIDEO = 3
SEGMENTS = (3, 5)
DURATION_SEC = (20, 40)
# Lengths before they are scaled to fill the video
BACKGROUND, ACTION = (0.05, 0.8), (1.0, 2.5)
# Standard deviation of each feature's offset; that of prototypes is 1
OFFSET = 0.3
CORRELATION = 0.8  # of the noise in consecutive rows
WORD = 0.4  # standard deviation of each number of a word vector, as in GloVe

# Two actions per line: the verbs of each, and the objects that they share
ACTIONS = (
    (("open", "unlock", "unlatch"), ("close", "shut", "slam"), ("door", "window", "cupboard")),
    (("wash", "rinse", "scrub"), ("dry", "wipe", "polish"), ("plate", "glass", "pan")),
    (("lift", "raise", "grab"), ("drop", "lower", "release"), ("box", "bag", "basket")),
    (("eat", "chew", "taste"), ("cook", "fry", "bake"), ("pie", "fish", "potato")),
    (("fold", "bundle", "roll"), ("spread", "hang", "stretch"), ("towel", "blanket", "shirt")),
    (("read", "study", "skim"), ("write", "copy", "sign"), ("letter", "note", "report")),
)
TEMPLATES = (
    "person starts to {verb} the {object}.",
    "a man is seen to {verb} a {object}.",
    "The woman decides to {verb} her {object}.",
    "someone walks in to {verb} the {object} for a while.",
    "We watch him {verb} his {object}.",
)


@dataclass(frozen=True, kw_only=True)
class _Timeline:
    """The actions of a video and their spans, in frames."""

    frames: int
    actions: tuple[int, ...]
    spans: tuple[tuple[int, int], ...]


@dataclass(kw_only=True)
class SyntheticCorpus(SyntheticOptions, GeneratedCorpus):
    """Writes the corpus to ``folder``, where the readers of real corpora read it.

    ================ ==========================================================================
    ``charades_sta`` ``charades_sta_{train,test}.txt``, ``Charades_v1_{train,test}.csv``
    ``jsonl``        ``{train,val,test}.jsonl``
    ``hdf5_flat``    ``features.hdf5``, one dataset per video
    ``npy``          ``features/{video}.npy``
    any              ``glove.txt``, independent vectors even for synonyms; ``corpus.json``
    ================ ==========================================================================

    The first 70 % of the videos are for training, 10 % for validation and 20 % for testing. Charades-STA has no
    validation file, so its training files include the validation videos. All formats of a seed contain the same
    moments, with ids in the spelling of the real corpus.

    Raises:
        DataError: an option is invalid; the message names its key under ``dataset.generate``
    """

    kind: ClassVar[str] = "synthetic"
    version: ClassVar[int] = 1
    options: ClassVar[type] = SyntheticOptions
    folder: Path | str

    def __post_init__(self) -> None:
        most = 2 * len(ACTIONS)
        check_options(
            self,
            ("annotations", self.annotations in ANNOTATIONS, f"one of {', '.join(ANNOTATIONS)}"),
            ("layout", self.layout in LAYOUTS, f"one of {', '.join(LAYOUTS)}"),
            ("videos", self.videos >= 10, "10 or more"),
            ("actions", SEGMENTS[1] <= self.actions <= most, f"{SEGMENTS[1]} to {most}"),
            ("dim", self.dim >= 1, "1 or more"),
            ("word_dim", self.word_dim >= 1, "1 or more"),
            ("rate", 0 < self.rate < math.inf, "above 0"),
            ("noise", 0 <= self.noise < math.inf, "0 or more"),
            ("seed", self.seed >= 0, "0 or more"),
        )

    def _write(self, folder: Path) -> None:
        times, scenes, words = np.random.default_rng(self.seed).spawn(3)
        spelling, write = ANNOTATIONS[self.annotations]
        timelines = {spelling.format(number): _draw_timeline(self.actions, times) for number in range(self.videos)}
        moments = [_draw_moments(video, timeline, times) for video, timeline in timelines.items()]
        validation, test = round(0.7 * self.videos), round(0.8 * self.videos)
        parts = {"train": moments[:validation], "val": moments[validation:test], "test": moments[test:]}
        write(folder, {split: [*chain.from_iterable(part)] for split, part in parts.items()})
        prototypes = scenes.standard_normal((self.actions, self.dim))
        features = {video: self._draw_features(line, prototypes, scenes) for video, line in timelines.items()}
        LAYOUTS[self.layout](folder, features)
        vocabulary = _words()
        write_glove(folder / "glove.txt", vocabulary, WORD * words.standard_normal((len(vocabulary), self.word_dim)))

    def _draw_features(
        self, timeline: _Timeline, prototypes: NDArray[np.float64], rng: np.random.Generator
    ) -> NDArray[np.float32]:
        """Draw the rows of a video; rows outside its actions are only offset and noise.

        Shape: prototypes (actions, V) -> (N, V)
        """
        rows = max(1, round(timeline.frames / FPS * self.rate))
        centres = (np.arange(rows) + 0.5) * timeline.frames / rows
        signal = np.zeros((rows, self.dim))
        for action, (start, end) in zip(timeline.actions, timeline.spans, strict=True):
            signal[(start <= centres) & (centres < end)] = prototypes[action]
        noise = rng.standard_normal((rows, self.dim))
        for row in range(1, rows):
            noise[row] = CORRELATION * noise[row - 1] + math.sqrt(1 - CORRELATION**2) * noise[row]
        offset = OFFSET * rng.standard_normal(self.dim)
        return (signal + offset + self.noise * noise).astype(np.float32)


def _draw_timeline(actions: int, rng: np.random.Generator) -> _Timeline:
    frames = int(rng.integers(DURATION_SEC[0] * FPS, DURATION_SEC[1] * FPS, endpoint=True))
    segments = int(rng.integers(*SEGMENTS, endpoint=True))
    # background, action, background, ..., action, background
    lengths = rng.uniform(*BACKGROUND, 2 * segments + 1)
    lengths[1::2] = rng.uniform(*ACTION, segments)
    bounds = np.rint(frames * lengths.cumsum() / lengths.sum()).astype(int).tolist()
    # Actions that share their objects occur together; otherwise the objects would identify most moments.
    chosen = rng.random(len(ACTIONS))[np.arange(actions) // 2].argsort(kind="stable")[:segments]
    return _Timeline(
        frames=frames,
        actions=tuple(rng.permutation(chosen).tolist()),
        spans=tuple(zip(bounds[:-1:2], bounds[1::2], strict=True)),
    )


def _draw_moments(video: str, timeline: _Timeline, rng: np.random.Generator) -> list[Moment]:
    asked = rng.choice(len(timeline.spans), QUERIES_PER_VIDEO, replace=False).tolist()
    return [
        Moment(
            qid=f"{video}:{index}",
            video=video,
            query=_draw_query(timeline.actions[segment], rng),
            windows_sec=((timeline.spans[segment][0] / FPS, timeline.spans[segment][1] / FPS),),
            duration_sec=timeline.frames / FPS,
        )
        for index, segment in enumerate(asked)
    ]


def _draw_query(action: int, rng: np.random.Generator) -> str:
    *verbs, objects = ACTIONS[action // 2]
    template = TEMPLATES[rng.integers(len(TEMPLATES))]
    synonyms = verbs[action % 2]
    return template.format(verb=synonyms[rng.integers(len(synonyms))], object=objects[rng.integers(len(objects))])


def _words() -> list[str]:
    """Return every word that a query can contain, in alphabetical order."""
    terms = [term for kinds in ACTIONS for kind in kinds for term in kind]
    texts = [*terms, *(template.format(verb="", object="") for template in TEMPLATES)]
    return sorted({word for text in texts for word in tokenize(text)})
