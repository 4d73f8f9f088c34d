"""Oracle: the numbers that the picture is asked to show."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.patches import Rectangle, StepPatch

from cpnet.grounding.answer import Answer, FoundMoment
from cpnet.reporting.figures.timeline import MOST, MOST_MOMENTS, draw

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
