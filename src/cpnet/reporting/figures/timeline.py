"""Picture of the answers about a video: its frames, and the attention and moments of each sentence."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MultipleLocator
from numpy.typing import NDArray

from cpnet.grounding.answer import Answer
from cpnet.terminal import clock, printable

MOST, MOST_MOMENTS = 20, 10  # sentences, and moments of each; more do not fit in a picture
WIDTH, CURVE, LANE = 10.0, 0.6, 0.22  # inches: of the picture, and heights of an attention and of a moment
ATTENTION, BEST, OTHER = "#56B4E9", "#E69F00", "#F5D899"  # Okabe and Ito's blue and orange, and a paler orange
STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200)  # seconds between the labels of the axis


def draw(title: str, duration_sec: float, answers: Sequence[Answer], frames: Sequence[NDArray[np.uint8]]) -> Figure:
    """Draw answers about a video along one axis of time: attentions as steps, moments as bars, best first.

    ``frames`` show as many equal parts of the video; all are (height, width, 3), and there may be none.
    """
    drawn = [replace(answer, moments=answer.moments[:MOST_MOMENTS]) for answer in answers[:MOST]]
    strip = [min(2.0, WIDTH / len(frames) * frames[0].shape[0] / frames[0].shape[1])] if frames else []
    heights = [*strip, *(CURVE + LANE * len(answer.moments) for answer in drawn)]
    more = f", the first {MOST} of {len(answers)} sentences" if len(answers) > MOST else ""
    with rc_context({"text.parse_math": False}):  # a $ in a sentence does not start a formula
        figure = Figure(figsize=(WIDTH, sum(heights) + 0.35 * len(drawn) + 0.7), layout="constrained")
        figure.suptitle(printable(f"{title}, {clock(duration_sec)}{more}"), fontsize="medium", x=0.01, ha="left")
        panels = figure.subplots(len(heights), sharex=True, squeeze=False, height_ratios=heights)[:, 0]
        for place, frame in enumerate(frames):
            edges = (place * duration_sec / len(frames), (place + 1) * duration_sec / len(frames))
            panels[0].imshow(frame, extent=(*edges, 0, 1), aspect="auto")
            panels[0].set(ylim=(0, 1), yticks=[])
        for axes, answer in zip(panels[len(strip) :], drawn, strict=True):
            _draw_answer(axes, duration_sec, answer)
        panels[-1].set_xlim(0, duration_sec)
        step = next((step for step in STEPS if duration_sec <= 12 * step), duration_sec / 12)
        panels[-1].xaxis.set_major_locator(MultipleLocator(step))
        panels[-1].xaxis.set_major_formatter(FuncFormatter(lambda second, _: clock(second).partition(".")[0]))
        panels[-1].set_xlabel("blue: attention of the model; orange: moments with their scores, best first")
    return figure


def _draw_answer(axes: Axes, duration_sec: float, answer: Answer) -> None:
    axes.set_title(textwrap.fill(printable(answer.query), 120), loc="left", fontsize="medium")
    if answer.attention.size:
        edges = np.linspace(0, duration_sec, answer.attention.size + 1)
        axes.stairs(answer.attention / (answer.attention.max() or 1), edges, fill=True, color=ATTENTION)
    height = LANE / CURVE  # of a moment, relative to the attention's
    for rank, moment in enumerate(answer.moments):
        start, end, y = moment.start_sec, moment.end_sec, -(rank + 0.5) * height
        axes.barh(y, end - start, left=start, height=0.8 * height, color=OTHER if rank else BEST)
        x, shift, side = (start + end) / 2, 0, "center"
        if end < 0.75 * duration_sec:
            x, shift, side = end, 4, "left"
        elif start > 0.25 * duration_sec:
            x, shift, side = start, -4, "right"
        text = f"{clock(start)} to {clock(end)}   {moment.score:.2f}"
        axes.annotate(text, (x, y), (shift, 0), textcoords="offset points", ha=side, va="center", fontsize="small")
    axes.set(ylim=(-height * len(answer.moments), 1.05), yticks=[])
    axes.spines[["left", "right", "top"]].set_visible(False)
