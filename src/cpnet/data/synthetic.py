"""A planted corpus: small, made from a seed, and written in the formats that real corpora have.

Actions are prototypes in feature space; a video is a sequence of distinct actions, seen through an offset of its own
and noise that is correlated in time; a query names one of them. Two actions share their objects, so that verbs count,
and every action occurs anywhere in a video, so that neither the words nor the video alone tell where the answer lies.
"""

from __future__ import annotations

import json
import logging
import math
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cpnet.data.identity import normalise_id
from cpnet.data.moment import DataError, Moment
from cpnet.data.vocabulary import tokenize
from cpnet.data.writers import (
    FPS,
    Features,
    Splits,
    write_activitynet_captions,
    write_charades_sta,
    write_glove,
    write_hdf5_flat,
    write_hdf5_group,
    write_jsonl,
    write_lines,
    write_npy,
    write_tacos,
)

# The ids of each corpus look as they do there.
ANNOTATIONS: dict[str, tuple[str, Callable[[Path, Splits], None]]] = {
    "charades_sta": ("S{:04d}", write_charades_sta),
    "activitynet_captions": ("v_synth{:06d}", write_activitynet_captions),
    "tacos": ("s{0:02d}-d{0:02d}.avi", write_tacos),
    "jsonl": ("video_{:05d}", write_jsonl),
}
LAYOUTS: dict[str, Callable[[Path, Features], None]] = {
    "hdf5_flat": write_hdf5_flat,
    "hdf5_group": write_hdf5_group,
    "npy": write_npy,
}

# To be raised with every change of what is written from the same parameters.
VERSION = 1
MANIFEST = "corpus.json"
QUERIES_PER_VIDEO = 3
SEGMENTS = (3, 5)
DURATION_SEC = (20, 40)
# Lengths before they are scaled to fill the video.
BACKGROUND, ACTION = (0.05, 0.8), (1.0, 2.5)
# Deviations of each feature; a prototype's is 1.
OFFSET = 0.3
CORRELATION = 0.8  # of the noise from one row to the next
WORD = 0.4  # of each number of a word vector, as in GloVe

# Two actions a line, with the verbs of each and the objects that they share.
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
    """What happens in a video; times are in frames."""

    frames: int
    actions: tuple[int, ...]
    spans: tuple[tuple[int, int], ...]


@dataclass(frozen=True, kw_only=True)
class SyntheticCorpus:
    """Writes the corpus below ``folder``; the ordinary readers read it from there.

    ============================ ==========================================================================
    ``charades_sta``             ``charades_sta_{train,test}.txt``, ``Charades_v1_{train,test}.csv``
    ``activitynet_captions``     ``train.json``, ``val_1.json``, ``val_2.json``
    ``tacos``                    ``{train,val,test}.json``, in frames, with their rate
    ``jsonl``                    ``{train,val,test}.jsonl``
    ``hdf5_flat``                ``features.hdf5``, a dataset a video
    ``hdf5_group``               ``features.hdf5``, a group a video with the dataset ``features``
    ``npy``                      ``features/{video}.npy``
    any                          ``glove.txt``, word vectors, independent also for synonyms; ``corpus.json``
    ============================ ==========================================================================

    Of the videos 10 % are for validation and 20 % for testing; Charades-STA has no validation file, and its training
    files hold those 10 % too. All variants of a seed hold the same moments, under ids as each corpus spells them.

    Args:
        folder: where the corpus lies; made where it is absent
        annotations: format of the annotations
        layout: layout of the features
        videos: videos of all splits together
        actions: distinct actions, 5 to 12
        dim: width V of the features
        word_dim: width W of the word vectors
        rate: rows of features per second
        noise: deviation of the noise in each feature; that of the prototypes is 1
        seed: of everything drawn

    Raises:
        DataError: a value cannot work; the message names its key under ``dataset.generate``.
    """

    folder: Path | str
    annotations: str = "charades_sta"
    layout: str = "hdf5_flat"
    videos: int = 400
    actions: int = 12
    dim: int = 64
    word_dim: int = 50
    rate: float = 2.0
    noise: float = 0.3
    seed: int = 0

    def __post_init__(self) -> None:
        _check("annotations", self.annotations, self.annotations in ANNOTATIONS, f"one of {', '.join(ANNOTATIONS)}")
        _check("layout", self.layout, self.layout in LAYOUTS, f"one of {', '.join(LAYOUTS)}")
        _check("videos", self.videos, self.videos >= 10, "10 or more")
        most = 2 * len(ACTIONS)
        _check("actions", self.actions, SEGMENTS[1] <= self.actions <= most, f"{SEGMENTS[1]} to {most}")
        for key in ("dim", "word_dim"):
            _check(key, getattr(self, key), getattr(self, key) >= 1, "1 or more")
        _check("rate", self.rate, 0 < self.rate < math.inf, "above 0")
        _check("noise", self.noise, 0 <= self.noise < math.inf, "0 or more")
        _check("seed", self.seed, self.seed >= 0, "0 or more")

    def prepare(self) -> None:
        """Write the corpus, unless it is there already with the same parameters.

        It is made beside the folder and moved there when it is whole, so that a killed process leaves no half of it,
        and several processes at once do no harm. A corpus of other parameters is replaced; nothing else ever is.

        Raises:
            DataError: the folder holds something else, or cannot be written.
        """
        folder = Path(self.folder).expanduser().resolve()
        if self._is_whole(folder):
            return
        try:
            _refuse_strangers(folder)
            folder.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as temporary:
                fresh = Path(temporary) / "fresh"
                fresh.mkdir()
                self._write(fresh)
                self._install(fresh, folder)
        except OSError as error:
            raise DataError(
                f"cannot write the synthetic corpus to {folder} ({error}); set dataset.generate.folder to another place"
            ) from error
        logging.getLogger(__name__).info("wrote a synthetic corpus of %d videos to %s", self.videos, folder)

    def _manifest(self) -> dict[str, object]:
        parameters = asdict(self)
        del parameters["folder"]  # so that a corpus can be moved
        return {"version": VERSION, "parameters": parameters}

    def _is_whole(self, folder: Path) -> bool:
        found = _read_manifest(folder)
        files = found.pop("files", None)
        return (
            isinstance(files, list)
            and found == self._manifest()
            and all((folder / str(name)).exists() for name in files)
        )

    def _install(self, fresh: Path, folder: Path) -> None:
        """Move the corpus into its place; where another process has just put its equal, that one stays."""
        if folder.exists() and not self._is_whole(folder):
            with suppress(FileNotFoundError):  # another process was faster to move it
                folder.rename(fresh.with_name("stale"))
        try:
            fresh.rename(folder)
        except OSError:
            if not self._is_whole(folder):
                raise

    def _write(self, folder: Path) -> None:
        times, scenes, words = np.random.default_rng(self.seed).spawn(3)
        spelling, write = ANNOTATIONS[self.annotations]
        timelines = {spelling.format(number): _draw_timeline(self.actions, times) for number in range(self.videos)}
        moments = [_draw_moments(video, timeline, times) for video, timeline in timelines.items()]
        validation, test = round(0.7 * self.videos), round(0.8 * self.videos)
        parts = {"train": moments[:validation], "val": moments[validation:test], "test": moments[test:]}
        write(folder, {split: [*chain.from_iterable(part)] for split, part in parts.items()})
        prototypes = scenes.standard_normal((self.actions, self.dim))
        # Packs and annotations spell ids differently, so that they have to be matched as on real corpora.
        features = {normalise_id(v): self._draw_features(line, prototypes, scenes) for v, line in timelines.items()}
        LAYOUTS[self.layout](folder, features)
        vocabulary = _words()
        write_glove(folder / "glove.txt", vocabulary, WORD * words.standard_normal((len(vocabulary), self.word_dim)))
        manifest = {**self._manifest(), "files": sorted(entry.name for entry in folder.iterdir())}
        write_lines(folder / MANIFEST, [json.dumps(manifest, indent=2)])

    def _draw_features(
        self, timeline: _Timeline, prototypes: NDArray[np.float64], rng: np.random.Generator
    ) -> NDArray[np.float32]:
        """Rows of one video; between the actions there are only offset and noise.

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
    # Background, action, background, ..., action, background.
    lengths = rng.uniform(*BACKGROUND, 2 * segments + 1)
    lengths[1::2] = rng.uniform(*ACTION, segments)
    bounds = np.rint(frames * lengths.cumsum() / lengths.sum()).astype(int).tolist()
    # Actions that share their objects come together, or the objects would tell most of the moments.
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
            start_sec=timeline.spans[segment][0] / FPS,
            end_sec=timeline.spans[segment][1] / FPS,
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
    """Every word that a query can hold, in alphabetical order."""
    terms = [term for kinds in ACTIONS for kind in kinds for term in kind]
    texts = [*terms, *(template.format(verb="", object="") for template in TEMPLATES)]
    return sorted({word for text in texts for word in tokenize(text)})


def _read_manifest(folder: Path) -> dict[str, object]:
    """Read what a folder says of itself, nothing where it says nothing that can be understood."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return manifest if isinstance(manifest, dict) else {}


def _refuse_strangers(folder: Path) -> None:
    """Make sure that a folder holds nothing but a corpus, which may be replaced."""
    try:
        found = sorted(entry.name for entry in folder.iterdir())
    except FileNotFoundError:
        return
    files = _read_manifest(folder).get("files")
    known = [MANIFEST, *(files if isinstance(files, list) else [])]
    # The cache of the word vectors is hidden.
    strangers = [name for name in found if name not in known and not name.startswith(".")]
    if strangers and folder.exists():
        raise DataError(
            f"{folder} holds {', '.join(strangers[:5])}, which no synthetic corpus put there and which would be lost; "
            "set dataset.generate.folder to another place"
        )


def _check(key: str, value: object, holds: bool, wanted: str) -> None:
    if not holds:
        raise DataError(f"dataset.generate.{key} must be {wanted}, found {value!r}")
