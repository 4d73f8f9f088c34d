"""Timelines: frames of a video, and for each sentence the attention of models and spans, along one axis of seconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter, MultipleLocator
from numpy.typing import NDArray

from cpnet.grounding.answer import Answer
from cpnet.reporting.figures.style import BLUE, COLUMN, FONT, GREEN, ORANGE, PALE_ORANGE, PLAIN, SKY, plain, wrapped
from cpnet.terminal import clock

MOST, MOST_MOMENTS = 20, 10  # sentences, and moments of each; more do not fit in a picture
STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200)  # seconds between the labels of the axis
AXIS, TITLE, GAP = 1.8, 1.05, 0.45  # heights of the labels of an axis, of a video's title, and above a later sentence
MIN_SHARE = 0.004  # of the axis: a shorter span is drawn as long, so that it is visible
LONGEST_NAME = 12  # letters of the name of a lane
LETTER, DIGIT = 0.55, 0.44  # mean widths of a letter, and of the text of a lane, in heights of the font

Span = tuple[float, float]
Curve = NDArray[np.floating]


@dataclass(frozen=True, kw_only=True)
class Lane:
    """Spans in seconds that share a line of a timeline, a text beside the last, and a name in the margin."""

    spans: Sequence[Span]
    colour: str
    text: str = ""
    name: str = ""


@dataclass(frozen=True, kw_only=True)
class Sentence:
    """A sentence, lanes of spans, and the attention of models to equal parts of the video, empty for one without."""

    title: str
    lanes: Sequence[Lane]
    attention: Sequence[Curve] = ()  # the first is filled, the second an outline

    @property
    def attended(self) -> bool:
        """Return whether a model has an attention."""
        return any(each.size for each in self.attention)


@dataclass(frozen=True, kw_only=True)
class Film:
    """A video with its sentences. ``frames`` show as many equal parts of it; all are (height, width, 3)."""

    title: str
    duration_sec: float
    sentences: Sequence[Sentence]
    frames: Sequence[NDArray[np.uint8]] = ()


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Sizes in inches: of the picture, the attention, a lane, and the margin for the names of lanes; font in points."""

    width: float
    curve: float
    lane: float
    margin: float
    font: float
    ticks: int  # labels of the axis, at most
    clock: bool  # labels as players show times, not as seconds

    @property
    def line(self) -> float:
        """Return the height of a line of text."""
        return 1.4 * self.font / 72

    @property
    def letters(self) -> int:
        """Return the number of letters that fit into the width."""
        return int((self.width - 0.1) / (LETTER * self.font / 72))


SCREEN = Sizes(width=10.0, curve=0.6, lane=0.22, margin=0.25, font=9.0, ticks=12, clock=True)
PRINTED = Sizes(width=COLUMN, curve=0.32, lane=0.12, margin=0.62, font=FONT, ticks=7, clock=False)


def annotated_lane(true: Sequence[Span]) -> Lane:
    """Return the lane of all true spans of a sentence."""
    text = seconds(true[0]) if len(true) == 1 else f"{len(true)} spans"
    return Lane(spans=true, colour=BLUE, text=text, name="annotated")


def predicted_lane(span: Span, iou: float | None, *, name: str = "predicted", colour: str = ORANGE) -> Lane:
    """Return the lane of a prediction, with its IoU if a true span is known."""
    text = seconds(span) + ("" if iou is None else f", IoU {iou:.2f}")
    return Lane(spans=[span], colour=colour, text=text, name=name)


def seconds(span: Span) -> str:
    """Return a span as text.

    >>> seconds((1.0, 2.54))
    '1.0 to 2.5 s'
    """
    return f"{span[0]:.1f} to {span[1]:.1f} s"


def draw(title: str, duration_sec: float, answers: Sequence[Answer], frames: Sequence[NDArray[np.uint8]]) -> Figure:
    """Draw answers about a video: attentions, and moments as bars with their scores, best first."""
    more = f", the first {MOST} of {len(answers)} sentences" if len(answers) > MOST else ""
    sentences = []
    for answer in answers[:MOST]:
        lanes = [
            Lane(
                spans=[(moment.start_sec, moment.end_sec)],
                colour=PALE_ORANGE if rank else ORANGE,
                text=f"{clock(moment.start_sec)} to {clock(moment.end_sec)}   {moment.score:.2f}",
            )
            for rank, moment in enumerate(answer.moments[:MOST_MOMENTS])
        ]
        sentences.append(Sentence(title=answer.query, lanes=lanes, attention=[answer.attention]))
    film = Film(
        title=f"{title}, {clock(duration_sec)}{more}", duration_sec=duration_sec, sentences=sentences, frames=frames
    )
    label = "blue: attention of the model; orange: moments with their scores, best first"
    return draw_films([film], sizes=SCREEN, label=label)


def draw_films(films: Sequence[Film], *, sizes: Sizes = PRINTED, label: str) -> Figure:
    """Draw videos under each other, each with its own axis of time; ``label`` explains the colours below them all."""
    titles = [[wrapped(each.title, sizes.letters, 3) for each in film.sentences] for film in films]
    strips = [_strip_height(film, sizes) for film in films]
    axis, explained = AXIS * sizes.line, wrapped(label, sizes.letters, 4)
    height = 0.12 + sizes.line * len(explained)
    for film, lines, strip in zip(films, titles, strips, strict=True):
        panels = sum(_panel_height(each, sizes) for each in film.sentences)
        texts = TITLE * len(_title(film, sizes)) + GAP * (len(lines) - 1) + sum(map(len, lines))
        height += texts * sizes.line + panels + strip + axis
    with rc_context({**PLAIN, "font.size": sizes.font}):
        figure = Figure(figsize=(sizes.width, height))
        top = height - 0.04
        for film, lines, strip in zip(films, titles, strips, strict=True):
            top = _draw_film(figure, film, lines, strip, top, sizes) - axis
        figure.text(0.05 / sizes.width, 0.05 / height, "\n".join(explained), va="bottom", ha="left")
    return figure


def _title(film: Film, sizes: Sizes) -> list[str]:
    return wrapped(film.title, sizes.letters, 2)


def _strip_height(film: Film, sizes: Sizes) -> float:
    if not film.frames:
        return 0.0
    height, width = film.frames[0].shape[:2]
    return min(0.2 * sizes.width, (sizes.width - sizes.margin) / len(film.frames) * float(height / width))


def _panel_height(sentence: Sentence, sizes: Sizes) -> float:
    return (sizes.curve if sentence.attended else 0.02) + sizes.lane * len(sentence.lanes)


def _draw_film(
    figure: Figure, film: Film, titles: Sequence[Sequence[str]], strip: float, top: float, sizes: Sizes
) -> float:
    """Draw a video below ``top``, in inches above the bottom of the figure; return where it ends."""
    width, height = figure.get_size_inches()

    def axes(inches: float) -> Axes:
        left = sizes.margin / width
        made = figure.add_axes((left, (top - inches) / height, 1 - left - 0.12 / width, inches / height))
        made.set(xlim=(0, film.duration_sec), yticks=[])
        made.tick_params(labelbottom=False)
        set_seconds(made, film.duration_sec, ticks=sizes.ticks, clocks=sizes.clock)
        return made

    title = _title(film, sizes)
    figure.text(0.05 / width, top / height, "\n".join(title), va="top", ha="left")
    top -= TITLE * sizes.line * len(title)
    if strip:
        panel = axes(strip)
        for place, frame in enumerate(film.frames):
            edges = (place * film.duration_sec / len(film.frames), (place + 1) * film.duration_sec / len(film.frames))
            panel.imshow(frame, extent=(*edges, 0, 1), aspect="auto")
        panel.set(xlim=(0, film.duration_sec), ylim=(0, 1), yticks=[])
        panel.tick_params(length=0)
        top -= strip
    for place, (sentence, lines) in enumerate(zip(film.sentences, titles, strict=True)):
        top -= sizes.line * (len(lines) + GAP * bool(place))
        panel = axes(_panel_height(sentence, sizes))
        panel.set_title(
            "\n".join(lines),
            loc="left",
            fontsize=sizes.font,
            pad=2,
            x=(0.05 - sizes.margin) / panel.bbox.width * figure.dpi,
        )
        _draw_sentence(panel, film.duration_sec, sentence, sizes)
        top -= _panel_height(sentence, sizes)
    panel.tick_params(labelbottom=True)
    return top


def set_seconds(axes: Axes, duration_sec: float, *, ticks: int, clocks: bool = False) -> None:
    """Label the horizontal axis at round seconds."""
    step = next((step for step in STEPS if duration_sec <= ticks * step), duration_sec / ticks)
    axes.xaxis.set_major_locator(MultipleLocator(step))
    axes.xaxis.set_major_formatter(
        FuncFormatter(lambda second, _: clock(second).partition(".")[0] if clocks else f"{second:.4g} s")
    )


def _draw_sentence(axes: Axes, duration_sec: float, sentence: Sentence, sizes: Sizes) -> None:
    for place, attention in enumerate(sentence.attention):
        edges = np.linspace(0, duration_sec, attention.size + 1)
        look: dict[str, Any] = {"color": GREEN, "linewidth": 0.8} if place else {"color": SKY, "fill": True}
        if attention.size:
            axes.stairs(attention / (attention.max() or 1), edges, **look)
    lane = sizes.lane / sizes.curve  # relative to the attention's height
    for place, each in enumerate(sentence.lanes):
        y = -(place + 0.5) * lane
        for start, end in each.spans:
            left, right = sorted((start, end))  # a model may predict a reversed span
            axes.barh(y, max(right - left, MIN_SHARE * duration_sec), left=left, height=0.8 * lane, color=each.colour)
        if each.name:
            where: dict[str, Any] = {
                "xycoords": ("axes fraction", "data"),
                "textcoords": "offset points",
                "annotation_clip": False,
            }
            side: dict[str, Any] = {"ha": "right", "va": "center", "fontsize": 0.9 * sizes.font}
            axes.annotate(plain(each.name)[:LONGEST_NAME], (0, y), (-2, 0), **where, **side)
        if each.text and each.spans:
            _draw_text(axes, duration_sec, each, y, sizes)
    axes.set(ylim=(-lane * len(sentence.lanes), 1.05 if sentence.attended else 0.0001), yticks=[])
    axes.spines[["left", "right", "top"]].set_visible(False)


def _draw_text(axes: Axes, duration_sec: float, lane: Lane, y: float, sizes: Sizes) -> None:
    """Write the text of a lane behind its last span, or before its first, or over it, wherever it fits."""
    start, end = min(map(min, lane.spans)), max(map(max, lane.spans))
    needed = DIGIT * sizes.font / 72 * (len(lane.text) + 1) / (sizes.width - sizes.margin) * duration_sec
    x, shift, side = (start + end) / 2, 0, "center"
    if end + needed <= duration_sec:
        x, shift, side = end, 3, "left"
    elif start - needed >= 0:
        x, shift, side = start, -3, "right"
    else:
        x = min(max(x, needed / 2), duration_sec - needed / 2)
    # A text with a halo is wider than its layout: it would run into the bar beside it.
    halo = [withStroke(linewidth=1.2, foreground="white")] if side == "center" else None
    look: dict[str, Any] = {"ha": side, "va": "center", "fontsize": 0.9 * sizes.font, "path_effects": halo}
    axes.annotate(lane.text, (x, y), (shift, 0), textcoords="offset points", **look)
