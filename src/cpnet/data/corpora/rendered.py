"""A corpus of short mp4 files, rendered from a seed, with sentences about what happens in them.

Two residents stand in every scene, and visitors come and go. Events may overlap and occur anywhere in a video. In many
videos one event occurs twice: only the order ("after the red ball jumps, ...") tells which one a sentence means.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from itertools import accumulate, chain
from multiprocessing import get_context
from pathlib import Path
from typing import ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from cpnet.data.corpora.animation import COLOURS, Event, Scene, Thing, encode
from cpnet.data.corpora.generated import GeneratedCorpus, check_options
from cpnet.data.corpora.writers import FPS, write_glove, write_jsonl
from cpnet.data.moment import Moment
from cpnet.data.tokens import tokenize
from cpnet.options import RenderedOptions
from cpnet.terminal import seconds_bar
from cpnet.workers import cores, obey_parent

T = TypeVar("T")

SHORTEST_SEC = 10
EVENT_SEC = 3.9  # of a video for each of its events
GAP, ACTION = (0.1, 0.8), (1.0, 2.5)  # lengths before they are scaled to fill the video
VISITS = 0.5  # probability that an event is a visit
REPEATED = 0.2  # probability that an event occurs twice
OVERLAP = 0.4  # probability that an event begins before the last one has ended
PARAPHRASES = 2  # sentences about each event
WORD, SYNONYM = 0.4, 0.12  # standard deviations of the numbers of a word vector, and of their difference in synonyms

# Words for each shape, colour and action; the first word for a shape or colour is its key
SHAPES = {words[0]: words for words in (("ball", "sphere"), ("box", "crate"), ("flower", "blossom"), ("wheel", "tyre"))}
SHADES = {words[0]: words for words in (("red", "scarlet"), ("green", "jade"), ("blue", "navy"), ("yellow", "golden"))}
RESIDENT = {
    "grow": ("grows", "swells", "expands"),
    "glow": ("glows", "shines", "lights up"),
    "jump": ("jumps", "hops", "bounces"),
    "turn": ("turns {colour}", "becomes {colour}", "changes to {colour}"),
}
VISITOR = {
    "cross": ("crosses the picture", "passes by", "travels across"),
    "appear": ("appears", "shows up", "emerges"),
    "collide": ("hits {other}", "bumps into {other}", "collides with {other}"),
}
VERBS = RESIDENT | VISITOR
EARLIER = ("before {mark}, {clause}", "{clause} before {mark}", "{clause} for the first time")
LATER = ("after {mark}, {clause}", "{clause} after {mark}", "{clause} again")
SENTENCES = ("{clause}.", "we see that {clause}.", "In this scene, {clause}.", "{clause} in the video.")


@dataclass(kw_only=True)
class RenderedCorpus(RenderedOptions, GeneratedCorpus):
    """Writes the corpus to ``folder``: ``{train,val,test}.jsonl``, ``videos/{video}.mp4`` and ``glove.txt``.

    The first 80 % of the videos are for training, 10 % for validation and 10 % for testing.

    Raises:
        DataError: an option is invalid; the message names its key under ``dataset.generate``
    """

    kind: ClassVar[str] = "rendered"
    version: ClassVar[int] = 1
    options: ClassVar[type] = RenderedOptions
    folder: Path | str

    def __post_init__(self) -> None:
        check_options(
            self,
            ("videos", self.videos >= 10, "10 or more"),
            ("longest_sec", SHORTEST_SEC <= self.longest_sec <= 60, f"{SHORTEST_SEC} to 60"),
            ("word_dim", self.word_dim >= 1, "1 or more"),
            ("fps", 0 < self.fps <= FPS, f"above 0 and at most {FPS}"),
            ("seed", self.seed >= 0, "0 or more"),
        )

    def _finish(self, folder: Path) -> None:
        """Render the videos that do not exist: an interrupted rendering continues with the next one."""
        done = {path.stem for path in folder.glob("videos/*.mp4")}
        if len(done) < self.videos:
            scenes = self._draw()[0]
            _render({folder / f"videos/{video}.mp4": scene for video, scene in scenes.items() if video not in done})

    def _draw(self) -> tuple[dict[str, Scene], list[list[Moment]]]:
        rng = np.random.default_rng(self.seed)
        scenes = {f"video_{number:05}": draw_scene(self.longest_sec, rng) for number in range(self.videos)}
        return scenes, [draw_moments(video, scene, rng) for video, scene in scenes.items()]

    def _write(self, folder: Path) -> None:
        moments = self._draw()[1]
        val, test = round(0.8 * self.videos), round(0.9 * self.videos)
        parts = {"train": moments[:val], "val": moments[val:test], "test": moments[test:]}
        write_jsonl(folder, {split: [*chain.from_iterable(part)] for split, part in parts.items()})
        write_glove(folder / "glove.txt", *word_vectors(self.word_dim))
        (folder / "videos").mkdir()


def _render(scenes: dict[Path, Scene]) -> None:
    """Write scenes as video files, in a process per core."""
    logging.getLogger(__name__).info("rendering %d videos", len(scenes))
    pool = ProcessPoolExecutor(min(cores(), len(scenes)), get_context("spawn"), obey_parent)
    ends = [*accumulate(scene.frames / FPS for scene in scenes.values())]
    try:
        with seconds_bar("rendering", ends[-1]) as show:
            for end, _ in zip(ends, pool.map(encode, scenes.values(), scenes), strict=True):
                show(end)
    finally:
        pool.shutdown(cancel_futures=True)


def draw_scene(longest_sec: float, rng: np.random.Generator) -> Scene:
    """Draw a scene: its length, its things, and what they do when."""
    frames = int(rng.integers(SHORTEST_SEC * FPS, round(longest_sec * FPS), endpoint=True))
    count = max(3, round(frames / FPS / EVENT_SEC + rng.uniform(-0.5, 0.5)))
    # gap, event, gap, ..., event, gap
    lengths = rng.uniform(*GAP, 2 * count + 1)
    lengths[1::2] = rng.uniform(*ACTION, count)
    bounds = np.rint(frames * lengths.cumsum() / lengths.sum()).astype(int).tolist()
    things = [Thing(colour, shape) for colour in COLOURS for shape in SHAPES]
    things = [things[index] for index in rng.permutation(len(things))]
    residents, events = (things.pop(), things.pop()), list[Event]()
    while len(events) < count:
        start, end = bounds[2 * len(events) : 2 * len(events) + 2]
        event = _draw_event((start, end), residents, things, rng)
        if not any(_is_same(event, earlier) for earlier in events):
            events.append(event)
    if rng.random() < REPEATED:  # with another event in between, which tells the two apart
        first = int(rng.integers(count - 2))
        later = int(rng.integers(first + 2, count))
        events[later] = replace(events[first], span=events[later].span)
    single = [sum(_is_same(event, other) for other in events) == 1 for event in events]  # only these may overlap
    for index in range(1, count):
        last, event = events[index - 1 : index + 1]
        if last.thing != event.thing and single[index - 1] and single[index] and rng.random() < OVERLAP:
            earlier = round(rng.uniform(0.1, 0.4) * (last.span[1] - last.span[0]))
            events[index] = replace(event, span=(last.span[1] - earlier, event.span[1]))
    return Scene(frames=frames, residents=residents, events=tuple(events), seed=int(rng.integers(2**31)))


def _draw_event(
    span: tuple[int, int], residents: tuple[Thing, ...], visitors: list[Thing], rng: np.random.Generator
) -> Event:
    """Draw an event of a resident, or of a visitor that is taken from the list."""
    mirrored = bool(rng.random() < 0.5)
    if len(visitors) > 1 and rng.random() < VISITS:
        action, thing = _choose([*VISITOR], rng), visitors.pop()
        other = visitors.pop() if action == "collide" else None
        return Event(action=action, thing=thing, other=other, span=span, mirrored=mirrored)
    action, thing = _choose([*RESIDENT], rng), residents[int(mirrored)]
    others = [colour for colour in COLOURS if colour != thing.colour]
    return Event(action=action, thing=thing, colour=_choose(others, rng) if action == "turn" else None, span=span)


def _is_same(event: Event, other: Event) -> bool:
    """Whether the same sentence describes both events."""
    return replace(event, span=other.span, mirrored=other.mirrored) == other


def draw_moments(video: str, scene: Scene, rng: np.random.Generator) -> list[Moment]:
    """Draw sentences about each event. If an event occurs twice, they say which one is meant."""
    moments: list[Moment] = []
    for index, event in enumerate(scene.events):
        for _ in range(PARAPHRASES):
            clause = _draw_clause(event, rng)
            for twin, other in enumerate(scene.events):
                if twin < index and _is_same(event, other):
                    mark = _draw_mark(_choose(scene.events[twin + 1 : index], rng), scene, rng)
                    clause = _choose(LATER, rng).format(mark=mark, clause=clause)
                elif twin > index and _is_same(event, other):
                    mark = _draw_clause(scene.events[twin - 1], rng)
                    clause = _choose(EARLIER, rng).format(mark=mark, clause=clause)
            moments.append(
                Moment(
                    qid=f"{video}:{len(moments)}",
                    video=video,
                    query=_choose(SENTENCES, rng).format(clause=clause),
                    windows_sec=((event.span[0] / FPS, event.span[1] / FPS),),
                    duration_sec=scene.frames / FPS,
                )
            )
    return moments


def _draw_clause(event: Event, rng: np.random.Generator) -> str:
    verb = _choose(VERBS[event.action], rng)
    other = _draw_name(event.other, rng) if event.other else ""
    colour = _choose(SHADES[event.colour], rng) if event.colour else ""
    return f"{_draw_name(event.thing, rng)} {verb.format(other=other, colour=colour)}"


def _draw_mark(event: Event, scene: Scene, rng: np.random.Generator) -> str:
    """Describe an event after which another one happens: "the red ball stops" if it jumps once only."""
    moves = [other for other in scene.events if other.thing == event.thing and other.action == "jump"]
    if moves == [event] and rng.random() < 0.5:
        return f"{_draw_name(event.thing, rng)} stops"
    return _draw_clause(event, rng)


def _draw_name(thing: Thing, rng: np.random.Generator) -> str:
    return f"{_choose(('the', 'a'), rng)} {_choose(SHADES[thing.colour], rng)} {_choose(SHAPES[thing.shape], rng)}"


def _choose(options: Sequence[T], rng: np.random.Generator) -> T:
    return options[int(rng.integers(len(options)))]


def word_vectors(dim: int) -> tuple[list[str], NDArray[np.float64]]:
    """Return all words of sentences, sorted, and vectors (words, W) that are close in synonyms, whatever the seed."""
    synonyms = [*SHAPES.values(), *SHADES.values(), *VERBS.values()]
    texts = [*chain.from_iterable(synonyms), *EARLIER, *LATER, *SENTENCES, "a the stops"]
    words = sorted({word for text in texts for word in tokenize(text.format_map(defaultdict(str)))})
    rng = np.random.default_rng(0)
    vectors = dict(zip(words, WORD * rng.standard_normal((len(words), dim)), strict=True))
    for phrases in synonyms:
        first, *others = (tokenize(phrase)[0] for phrase in phrases)
        vectors |= {word: vectors[first] + SYNONYM * rng.standard_normal(dim) for word in others}
    return words, np.stack([vectors[word] for word in words])
