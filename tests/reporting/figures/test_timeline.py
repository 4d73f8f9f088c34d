"""Oracle: the numbers that the picture is asked to show."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.patches import Rectangle, StepPatch

from cpnet.grounding.answer import Answer, FoundMoment
from cpnet.reporting.figures.timeline import MOST, MOST_MOMENTS, Film, Lane, Sentence, draw, draw_films

SPANS = ((10.0, 25.0, 0.9), (70.0, 85.0, 0.4), (5.0, 80.0, 0.1))


def answer(query: str) -> Answer:
    moments = [FoundMoment(query=query, start_sec=start, end_sec=end, score=score) for start, end, score in SPANS]
    return Answer(query=query, moments=tuple(moments), attention=np.array([0.1, 0.6, 0.3], np.float32))


def test_frames_attention_and_moments_lie_on_one_axis_of_time() -> None:
    frames = [np.full((9, 16, 3), shade, np.uint8) for shade in (0, 100)]
    figure = draw("kitchen", 90.0, [answer("she opens it"), answer("$x$ \x1b[1m")], frames)
    strip, *panels = figure.axes
    images = [(tuple(image.get_extent()), int(np.asarray(image.get_array()).max())) for image in strip.images]
    assert images == [((0, 45, 0, 1), 0), ((45, 90, 0, 1), 100)]
    for axes, title in zip(panels, ("she opens it", "$x$ \\x1b[1m"), strict=True):
        assert (axes.get_title(loc="left"), axes.get_xlim()) == (title, (0, 90))
        bars = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
        assert [(bar.get_x(), bar.get_x() + bar.get_width()) for bar in bars] == [span[:2] for span in SPANS]
        assert np.diff([bar.get_y() for bar in bars]).max() < 0  # best first
        (stairs,) = (patch for patch in axes.patches if isinstance(patch, StepPatch))
        assert stairs.get_data()[0] == pytest.approx([1 / 6, 1, 1 / 2])
        assert stairs.get_data()[1] == pytest.approx([0, 30, 60, 90])
        labels = ["0:10.0 to 0:25.0   0.90", "1:10.0 to 1:25.0   0.40", "0:05.0 to 1:20.0   0.10"]
        assert [text.get_text() for text in axes.texts] == labels
    figure.draw_without_rendering()
    ticks = [tick.get_text() for tick in panels[1].get_xticklabels() if 0 <= tick.get_position()[0] <= 90]
    assert ticks == [f"{second // 60}:{second % 60:02}" for second in range(0, 91, 10)]


@pytest.mark.parametrize(("duration", "sentences"), [(0.4, 1), (9000.0, MOST + 5)])
def test_any_duration_and_number_of_sentences_can_be_drawn(duration: float, sentences: int) -> None:
    one = answer("b")
    tall = [np.zeros((9000, 2, 3), np.uint8)]
    figure = draw("a", duration, [replace(one, moments=one.moments * 99)] * sentences, tall)
    assert figure.get_figheight() < 100  # inches; a picture cannot have more than 65,536 pixels
    assert len(figure.axes) == 1 + min(sentences, MOST)
    assert len(figure.axes[-1].texts) == MOST_MOMENTS
    assert len(figure.axes[-1].get_xticks()) <= 15


def test_printed_timelines_have_an_axis_of_seconds_for_each_video() -> None:
    true = Lane(spans=[(1.0, 2.0), (6.0, 8.0)], colour="blue", text="2 spans", name="annotated")
    reversed_ = Lane(spans=[(5.0, 3.0)], colour="orange", text="5.0 to 3.0 s", name="pre\ndicted\x07, a long one")
    curves = [np.array([0.2, 0.8]), np.array([0.5, 0.25, 0.25])]
    sentences = [Sentence(title="she opens it", lanes=[true, reversed_], attention=curves)]
    sentences += [Sentence(title="word " * 99, lanes=[true])]
    films = [
        Film(title="a", duration_sec=10, sentences=sentences),
        Film(title="b", duration_sec=600, sentences=sentences),
    ]
    figure = draw_films(films, label="blue: annotated")
    assert figure.get_figwidth() == 3.35
    assert [axes.get_xlim() for axes in figure.axes] == [(0, 10)] * 2 + [(0, 600)] * 2
    first, second = figure.axes[:2]
    bars = [patch for patch in first.patches if isinstance(patch, Rectangle)]
    assert [(bar.get_x(), bar.get_width()) for bar in bars] == [(1, 1), (6, 2), (3, 2)]
    filled, outline = (patch for patch in first.patches if isinstance(patch, StepPatch))
    assert (filled.get_fill(), outline.get_fill()) == (True, False)
    assert [curve.get_data()[0].tolist() for curve in (filled, outline)] == [[0.25, 1], [1, 0.5, 0.5]]
    assert [text.get_text() for text in first.texts] == ["annotated", "2 spans", "pre dicted\\x", "5.0 to 3.0 s"]
    assert second.get_title(loc="left").count("\n") == 2
    assert second.get_title(loc="left").endswith(" ...")
    figure.draw_without_rendering()
    for axes, labels in ((second, ["0 s", "2 s", "4 s", "6 s", "8 s", "10 s"]), (figure.axes[-1], ["0 s", "120 s"])):
        ticks = [
            tick.get_text() for tick in axes.get_xticklabels() if 0 <= tick.get_position()[0] <= axes.get_xlim()[1]
        ]
        assert ticks[: len(labels)] == labels
    boxes = [axes.get_position() for axes in figure.axes]
    assert all(above.y0 > below.y1 for above, below in itertools.pairwise(boxes))  # nothing overlaps
    assert 0 < boxes[-1].y0 < boxes[0].y1 < 1
