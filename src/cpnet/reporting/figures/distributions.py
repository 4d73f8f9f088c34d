"""Picture of how length and position of the moments are distributed in each split of a corpus."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from cpnet.data.moment import Moment
from cpnet.data.resplit import BINS, MEASURES, measure
from cpnet.reporting.figures.style import COLOURS, DASHES, save
from cpnet.terminal import printable


def draw(title: str, splits: Mapping[str, Sequence[Moment]], path: Path) -> None:
    """Draw the share of the pairs in each twentieth of the video, a panel for the length and one for the position."""
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    panels = figure.subplots(1, len(MEASURES))
    for panel, by in zip(panels, MEASURES, strict=True):
        for (split, moments), colour, dash in zip(splits.items(), COLOURS, DASHES, strict=False):
            counts, edges = np.histogram(measure(moments, by).clip(0, 1), bins=BINS, range=(0, 1))
            share = 100 * counts / len(moments)
            panel.stairs(share, edges, color=colour, linestyle=dash, label=f"{split}, {len(moments):,} pairs")
        panel.set(xlabel=f"{by} of the moment (fraction of the video)", ylabel="pairs (per cent)", xlim=(0, 1))
        panel.set_ylim(bottom=0)
    panels[0].legend(fontsize="small")
    figure.suptitle(printable(title), fontsize="medium", parse_math=False)
    save(figure, path)
