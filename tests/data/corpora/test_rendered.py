"""Oracles: pixels of the decoded files, and a parser of the sentences that knows English but not how they are drawn."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from cpnet.data.cleaning import clean
from cpnet.data.corpora import rendered
from cpnet.data.corpora.animation import Event, Scene, Thing, encode
from cpnet.data.corpora.rendered import RenderedCorpus, draw_moments, draw_scene
from cpnet.data.glove import read_glove
from cpnet.data.readers import read_jsonl
from cpnet.data.tokens import tokenize
from data.corpora.test_synthetic import contents

av = pytest.importorskip("av")

Frame = NDArray[np.int_]
Mask = NDArray[np.bool_]
SPAN = (35, 70)
COLOURS = {"red": "scarlet", "green": "jade", "blue": "navy", "yellow": "golden"}
NOUNS = {"ball": "sphere", "box": "crate", "flower": "blossom", "wheel": "tyre"}
VERBS = {
    "grow": r"grows|swells|expands",
    "glow": r"glows|shines|lights up",
    "jump": r"jumps|hops|bounces",
    "turn": r"turns|becomes|changes to",
    "cross": r"crosses the picture|passes by|travels across",
    "appear": r"appears|shows up|emerges",
    "collide": r"hits|bumps into|collides with",
}


def decoded(path: Path) -> list[Frame]:
    with av.open(str(path)) as container:
        assert container.streams.video[0].average_rate == 25
        return [frame.to_ndarray(format="rgb24").astype(int) for frame in container.decode(video=0)]


def pixels(frame: Frame, colour: str) -> Mask:
    red, green, blue = np.moveaxis(frame, -1, 0)
    masks: dict[str, Mask] = {
        "red": (red > green + 60) & (red > blue + 60),
        "blue": (blue > green + 50) & (blue > red + 60),
        "yellow": (red > blue + 70) & (green > blue + 50),
    }
    return masks[colour]


RED, BLUE, YELLOW, GREEN = Thing("red", "ball"), Thing("blue", "box"), Thing("yellow", "flower"), Thing("green", "box")
YELLOW_AREA: Callable[[Frame], float] = lambda frame: pixels(frame, "yellow").sum()  # noqa: E731


@pytest.mark.parametrize(
    ("event", "measure", "change"),
    [
        (Event(action="grow", thing=RED, span=SPAN), lambda frame: pixels(frame, "red").sum(), 100),
        (Event(action="jump", thing=RED, span=SPAN), lambda frame: np.nonzero(pixels(frame, "red"))[0].min(), 5),
        (Event(action="glow", thing=BLUE, span=SPAN), lambda frame: frame[:, 80:].mean(), 5),
        (Event(action="turn", thing=BLUE, colour="green", span=SPAN), lambda frame: pixels(frame, "blue").sum(), 100),
        (Event(action="cross", thing=YELLOW, span=SPAN, mirrored=True), YELLOW_AREA, 30),
        (Event(action="appear", thing=YELLOW, span=SPAN), YELLOW_AREA, 30),
        (Event(action="collide", thing=YELLOW, other=GREEN, span=SPAN), YELLOW_AREA, 30),
    ],
    ids=lambda value: value.action if isinstance(value, Event) else "",
)
def test_event_is_seen_in_its_span_and_nowhere_else(
    tmp_path: Path, event: Event, measure: Callable[[Frame], float], change: float
) -> None:
    encode(Scene(frames=90, residents=(RED, BLUE), events=(event,), seed=1), tmp_path / "a.mp4")
    frames = decoded(tmp_path / "a.mp4")
    assert (len(frames), frames[0].shape) == (90, (120, 160, 3))
    values = np.array([measure(frame) for frame in frames])
    differs = np.nonzero(abs(values - np.median(values[:30])) > change)[0]
    # Visitors enter from outside the picture.
    assert SPAN[0] <= differs[0] <= SPAN[0] + 6
    assert SPAN[1] - 6 <= differs[-1] + 1 <= SPAN[1]
    assert len(differs) > 0.5 * (SPAN[1] - SPAN[0])


def test_visitors_touch_in_the_middle_of_a_collision(tmp_path: Path) -> None:
    event = Event(action="collide", thing=Thing("yellow", "box"), other=Thing("red", "box"), span=(0, 50))
    encode(Scene(frames=50, residents=(), events=(event,), seed=2), tmp_path / "a.mp4")
    gaps = []
    for frame in decoded(tmp_path / "a.mp4")[5:-5]:
        left, right = sorted(np.nonzero(pixels(frame, colour))[1].mean() for colour in ("yellow", "red"))
        gaps.append(right - left)
    assert int(np.argmin(gaps)) + 5 in (24, 25)
    assert min(gaps) == pytest.approx(48, abs=4)  # two radii
    assert gaps[0] > 80 < gaps[-1]


def described(clause: str, scene: Scene) -> list[int]:
    """Return the events of a scene that a clause such as "the scarlet sphere hops" describes."""
    found = []
    for index, event in enumerate(scene.events):
        names = [thing and _name(thing) for thing in (event.thing, event.other)]
        shade = f" {_shade(event.colour)}" if event.colour else ""
        ending = f" {names[1]}" if names[1] else shade
        verbs = VERBS[event.action] + ("|stops" if event.action == "jump" else "")
        if re.fullmatch(f"{names[0]} ({verbs}){ending}", clause):
            found.append(index)
    return found


def _shade(colour: str | None) -> str:
    return f"({colour}|{COLOURS[str(colour)]})"


def _name(thing: Thing) -> str:
    return f"(the|a) {_shade(thing.colour)} ({thing.shape}|{NOUNS[thing.shape]})"


def meant(sentence: str, scene: Scene) -> int:
    """Return the event that a sentence means, by its words and the order of the events."""
    text = re.sub(r"^(we see that|In this scene,) | in the video(?=\.$)|\.$", "", sentence)
    for pattern, later in (
        (r"after (?P<mark>.*), (?P<clause>.*)|(?P<clause2>.*) after (?P<mark2>.*)", True),
        (r"before (?P<mark>.*), (?P<clause>.*)|(?P<clause2>.*) before (?P<mark2>.*)", False),
    ):
        if match := re.fullmatch(pattern, text):
            (mark,) = described(match["mark"] or match["mark2"], scene)
            pair = described(match["clause"] or match["clause2"], scene)
            (index,) = [each for each in pair if (each > mark) == later]
            clauses = scene.events[mark].span, scene.events[index].span
            assert clauses[1 - later][1] <= clauses[later][0]  # one has ended when the other begins
            return index
    if match := re.fullmatch(r"(.*) (again|for the first time)", text):
        first, second = described(match[1], scene)
        return second if match[2] == "again" else first
    (index,) = described(text, scene)
    return index


def test_sentence_means_one_event() -> None:
    rng = np.random.default_rng(5)
    ordered = overlapping = 0
    for number in range(150):
        scene = draw_scene(60.0 if number % 5 == 0 else 16.0, rng)
        moments = draw_moments(f"v{number}", scene, rng)
        assert clean(moments, split="all", drop=False)[0] == moments
        for index, moment in enumerate(moments):
            event = meant(moment.query, scene)
            assert event == index // 2, moment.query  # two sentences about each
            ((start, end),) = moment.windows_sec
            assert (start * 25, end * 25) == pytest.approx(scene.events[event].span)
            assert 0 <= start < end <= moment.duration_sec == scene.frames / 25
            ordered += any(word in moment.query for word in ("after", "before", "again", "first"))
        spans = sorted(event.span for event in scene.events)
        overlapping += any(left[1] > right[0] for left, right in pairwise(spans))
    assert ordered > 80
    assert overlapping > 40


def test_corpus_is_complete_and_its_rendering_is_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendered, "SHORTEST_SEC", 1)  # in the process that draws scenes, not in those that render them
    folder = tmp_path / "one"
    RenderedCorpus(folder=folder, videos=10, longest_sec=1.2).prepare()
    whole, lost, kept = contents(folder), *(folder / f"videos/video_0000{n}.mp4" for n in (3, 4))
    lost.unlink()
    written = kept.stat().st_mtime_ns
    RenderedCorpus(folder=folder, videos=10, longest_sec=1.2).prepare()
    assert contents(folder) == whole  # the seed alone determines the bytes of a video
    assert kept.stat().st_mtime_ns == written
    splits = [read_jsonl(annotations=folder / f"{split}.jsonl") for split in ("train", "val", "test")]
    moments = [moment for split in splits for moment in split]
    assert [len({moment.video for moment in part}) for part in splits] == [8, 1, 1]
    for video, seconds in {moment.video: moment.duration_sec for moment in moments}.items():
        assert len(decoded(folder / "videos" / f"{video}.mp4")) / 25 == seconds
    wanted = {word for moment in moments for word in tokenize(moment.query)} | {"hops", "jumps", "glows"}
    vectors = read_glove(folder / "glove.txt", wanted, dim=50)
    assert vectors.keys() == wanted
    hops, jumps, glows = (vectors[word] / np.linalg.norm(vectors[word]) for word in ("hops", "jumps", "glows"))
    assert hops @ jumps > 0.85 > 0.5 > hops @ glows
