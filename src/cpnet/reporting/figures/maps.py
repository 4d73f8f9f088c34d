"""Attention maps of a model: of clips and words (S_q and S_v), and of clips and clips at every level (M)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from cpnet.reporting.figures.style import BLUE, COLUMN, FONT, VERMILION, plain, wrapped
from cpnet.reporting.figures.timeline import PRINTED, set_seconds

PAST_AND_FUTURE = LinearSegmentedColormap.from_list("past_and_future", [BLUE, "white", VERMILION])
DARKEST = 99  # percentile of a level's weights with the darkest colour: a few weights are far higher than all others
LONGEST_WORD = 18  # letters
MOST_LEVELS = 4  # the finest; more do not fit into a column

Floats = NDArray[np.floating]
Span = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class WordMaps:
    """Attention of clips and words (CPNet, Eq. 2-3).

    Shape: edges_sec (T + 1,) ends of the clips in seconds; query ``S_q`` and video ``S_v`` (T, L)
    """

    words: Sequence[str]
    edges_sec: Floats
    query: Floats
    video: Floats

    def numbers(self) -> Iterator[dict[str, Any]]:
        """Yield a record for each weight."""
        for name, weights in (("S_q", self.query), ("S_v", self.video)):
            for clip, row in enumerate(weights.tolist()):
                start, end = self.edges_sec[clip : clip + 2].tolist()
                for word, weight in zip(self.words, row, strict=True):
                    yield {"map": name, "start_sec": start, "end_sec": end, "word": word, "weight": f"{weight:.4g}"}


@dataclass(frozen=True, kw_only=True)
class LevelMaps:
    """Attention of clips and clips at each level (CPNet, Eq. 6), the finest first; row t receives.

    Shape: edges_sec (T_p + 1,) in seconds and weights ``M`` (T_p, T_p) of each level
    """

    model: str
    levels: Sequence[tuple[Floats, Floats]]

    def numbers(self) -> Iterator[dict[str, Any]]:
        """Yield a record for each weight."""
        for level, (edges, weights) in enumerate(self.levels):
            middles = ((edges[1:] + edges[:-1]) / 2).round(3).tolist()
            for to_sec, row in zip(middles, weights.tolist(), strict=True):
                for from_sec, weight in zip(middles, row, strict=True):
                    half = "past" if from_sec < to_sec else "future" if from_sec > to_sec else "itself"
                    record = {"model": self.model, "level": level, "to_sec": to_sec, "from_sec": from_sec}
                    yield {**record, "half": half, "weight": f"{weight:.4g}"}


def draw_words(title: str, maps: WordMaps, true: Sequence[Span]) -> Figure:
    """Draw S_q and S_v side by side: words down, seconds across, the true spans as blue bars above."""
    lines = wrapped(title, PRINTED.letters, 3)
    figure = Figure(figsize=(COLUMN, 0.75 + 0.12 * len(maps.words) + PRINTED.line * len(lines)), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    names = (("S_q", "words for each clip", maps.query), ("S_v", "clips for each word", maps.video))
    rows = np.arange(len(maps.words) + 1) - 0.5
    for axes, (name, meaning, weights) in zip(panels, names, strict=True):
        mesh = axes.pcolormesh(maps.edges_sec, rows, weights.T, cmap="cividis", vmin=0, rasterized=True)
        for start, end in true:
            axes.add_patch(Rectangle((start, -0.95), end - start, 0.35, color=BLUE, clip_on=False, linewidth=0))
        axes.set_title(f"{name}: {meaning}", fontsize=FONT - 1, pad=7)
        set_seconds(axes, float(maps.edges_sec[-1]), ticks=3)
        bar = figure.colorbar(mesh, ax=axes, location="bottom", aspect=25, pad=0.02)
        bar.locator = MaxNLocator(3)
        bar.outline.set_linewidth(0.5)
    panels[0].set_yticks(range(len(maps.words)), [_word(word) for word in maps.words])
    panels[0].set_ylim(len(maps.words) - 0.5, -0.5)
    figure.suptitle("\n".join(lines), x=0.01, ha="left")
    return figure


def draw_levels(title: str, models: Sequence[LevelMaps], true: Sequence[Span]) -> Figure:
    """Draw M of the levels of each model: rows receive from columns, past in blue, future in orange; true spans framed.

    Each panel's colours have their own scale, from 0 to the 99th percentile of its weights.
    """
    lines = wrapped(title, PRINTED.letters, 3)
    columns = max(len(each.levels[:MOST_LEVELS]) for each in models)
    side = min((COLUMN - 0.5) / columns, 2.2)
    height = len(models) * (side + 0.46) + PRINTED.line * (len(lines) + 3)
    figure = Figure(figsize=(COLUMN, height), layout="compressed")
    panels = figure.subplots(len(models), columns, squeeze=False)
    for line, each in zip(panels, models, strict=True):
        for axes, level in zip(line, each.levels[:MOST_LEVELS], strict=False):
            _draw_level(axes, *level, true)
        for axes in line[len(each.levels) :]:
            axes.set_axis_off()
        line[0].set_ylabel(plain(each.model)[:20])
    figure.suptitle("\n".join(lines), x=0.01, ha="left")
    meaning = "row: the clip that receives from those of the columns, blue from the past, orange from the future; "
    meaning += f"darkest: the {DARKEST}th percentile of the weights; frame: annotated"
    figure.supxlabel("\n".join(wrapped(meaning, PRINTED.letters, 3)), x=0.01, ha="left", fontsize=FONT - 1)
    return figure


def signed(weights: Floats) -> Floats:
    """Return M with the weights of the past, below the diagonal, negative.

    >>> signed(np.array([[0.4, 0.6], [1.0, 0.0]])).tolist()
    [[0.4, 0.6], [-1.0, 0.0]]
    """
    made: Floats = np.triu(weights) - np.tril(weights, -1)
    return made


def _draw_level(axes: Axes, edges: Floats, weights: Floats, true: Sequence[Span]) -> None:
    darkest = float(np.percentile(weights, DARKEST)) or float(weights.max()) or 1.0
    axes.pcolormesh(edges, edges, signed(weights), cmap=PAST_AND_FUTURE, vmin=-darkest, vmax=darkest, rasterized=True)
    axes.plot(edges[[0, -1]], edges[[0, -1]], color="0.4", linewidth=0.4, linestyle=":")
    for start, end in true:
        frame = Rectangle((start, start), end - start, end - start, fill=False, color="black", linewidth=0.9)
        axes.add_patch(frame)
    axes.set(xlim=edges[[0, -1]], ylim=edges[[-1, 0]], aspect="equal")
    axes.set_title(f"{len(weights)} clips\ndarkest {darkest:.2g}", fontsize=FONT - 1, pad=2)
    set_seconds(axes, float(edges[-1]), ticks=2)
    axes.set_yticks([])


def _word(word: str) -> str:
    text = plain(word)
    return text if len(text) <= LONGEST_WORD else f"{text[: LONGEST_WORD - 3]}..."
