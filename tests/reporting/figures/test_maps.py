"""Oracle: the weights that the maps are made of."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from cpnet.reporting.figures.maps import LevelMaps, WordMaps, draw_levels, draw_words

EDGES = np.array([0.0, 4.0, 8.0, 10.0])
RNG = np.random.default_rng(0)


def frames(axes: Axes) -> list[tuple[float, float]]:
    patches = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
    return [(patch.get_x(), patch.get_x() + patch.get_width()) for patch in patches]


def panels(figure: Figure) -> list[Axes]:
    """Return the axes that show a map."""
    return [axes for axes in figure.axes if axes.get_title() and axes.axison]


def test_words_are_written_out_beside_both_maps() -> None:
    words = ["$x$", "antidisestablishmentarianism", "(?)\x1b"]
    maps = WordMaps(words=words, edges_sec=EDGES, query=RNG.random((3, 3)), video=RNG.random((3, 3)))
    figure = draw_words("a $ b", maps, [(2.0, 5.0), (9.0, 10.0)])
    first, second = panels(figure)
    for axes, weights in ((first, maps.query), (second, maps.video)):
        (drawn,) = (each for each in axes.collections if isinstance(each, QuadMesh))
        np.testing.assert_array_equal(drawn.get_array(), weights.T)
        assert np.asarray(drawn.get_coordinates())[0, :, 0].tolist() == EDGES.tolist()
        assert frames(axes) == [(2, 5), (9, 10)]
        assert axes.get_xlim() == (0, 10)
    assert [tick.get_text() for tick in first.get_yticklabels()] == ["$x$", "antidisestablis...", "(?)\\x1b"]
    assert first.get_ylim() == (2.5, -0.5)  # the first word on top
    records = [*maps.numbers()]
    assert len(records) == 2 * 3 * 3
    assert records[4] == {
        "map": "S_q", "start_sec": 4.0, "end_sec": 8.0, "word": words[1], "weight": f"{maps.query[1, 1]:.4g}"
    }  # fmt: skip


def test_levels_show_past_and_future_of_every_model_and_frame_the_truth() -> None:
    levels = [(np.linspace(0, 10, n + 1), RNG.dirichlet(np.ones(n), n)) for n in (8, 4, 2)]
    models = [LevelMaps(model="full", levels=levels), LevelMaps(model="$one$", levels=levels[:1])]
    figure = draw_levels("a", models, [(2.5, 5.0)])
    drawn = panels(figure)
    assert len(drawn) == 4
    for axes, (edges, weights) in zip(drawn, [*levels, levels[0]], strict=True):
        (shown,) = (each for each in axes.collections if isinstance(each, QuadMesh))
        for t, row in enumerate(np.asarray(shown.get_array())):
            assert row.tolist() == [-w if other < t else w for other, w in enumerate(weights[t])]
        low, high = shown.get_clim()
        assert low == -high == pytest.approx(-np.percentile(weights, 99))
        assert frames(axes) == [(2.5, 5.0)]
        assert (axes.get_xlim(), axes.get_ylim()) == ((0, 10), (10, 0))  # the first clip on top
        assert axes.get_title().startswith(f"{len(edges) - 1} clips\ndarkest ")
    assert [axes.get_ylabel() for axes in drawn] == ["full", "", "", "$one$"]
    halves = [record["half"] for record in models[1].numbers()]
    assert [halves.count(half) for half in ("past", "future", "itself")] == [28, 28, 8]
