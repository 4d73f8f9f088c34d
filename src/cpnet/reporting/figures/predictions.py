"""Pictures of predictions: a timeline per pair, and the true against the predicted lengths of all pairs."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from cpnet.evaluation.functional import iou
from cpnet.reporting.figures.timeline import Film, Sentence, annotated_lane, draw_films, predicted_lane

Span = tuple[float, float]  # start and end; in fractions of the video where lengths are counted

DPI = 120  # of a picture on a screen
BINS = ("0 to 20 %", "20 to 40 %", "40 to 60 %", "60 to 80 %", "80 to 100 %")  # length bins, in per cent of the video


def choose(ious: Sequence[float], most: int) -> list[int]:
    """Choose at most ``most`` indices at even steps of rank, from the lowest to the highest IoU.

    >>> choose([0.5, 0.0, 0.3, 1.0, 0.9], 3)
    [1, 0, 3]
    """
    ranks = np.linspace(0, len(ious) - 1, min(most, len(ious))).round().astype(int)
    chosen: list[int] = np.argsort(ious, kind="stable")[ranks].tolist()
    return chosen


def best_window(windows: Sequence[Span], predicted: Span) -> Span:
    """Return the true window with the highest IoU with a predicted span.

    >>> best_window([(0.0, 1.0), (2.0, 4.0)], (2.0, 3.0))
    (2.0, 4.0)
    """
    return windows[int(iou(predicted, windows).argmax())]


def draw_timeline(query: str, video: str, duration_sec: float, *, true: Sequence[Span], predicted: Span) -> Image.Image:
    """Draw the sentence of a pair, its annotated spans and its prediction, in seconds."""
    best = float(iou(predicted, true).max())
    sentence = Sentence(title=query, lanes=[annotated_lane(true), predicted_lane(predicted, best)])
    film = Film(title=f"{video}, {duration_sec:.1f} s", duration_sec=duration_sec, sentences=[sentence])
    return _picture(draw_films([film], label="blue: annotated; orange: predicted"))


def count_lengths(pairs: Iterable[tuple[Span, Span]]) -> list[list[int]]:
    """Count pairs by the length bins of the true span (rows) and of the predicted span (columns).

    A span that ends before it starts has the length 0.
    """
    ends = np.array([*pairs]).reshape(-1, 2, 2)
    # 1e-9, because a length of 0.2 may be computed as 0.19999.
    bins = ((ends[:, :, 1] - ends[:, :, 0]) * len(BINS) + 1e-9).clip(0, len(BINS) - 1).astype(int)
    counts = np.zeros((len(BINS), len(BINS)), int)
    np.add.at(counts, (bins[:, 0], bins[:, 1]), 1)
    made: list[list[int]] = counts.tolist()
    return made


def draw_lengths(counts: Sequence[Sequence[int]]) -> Image.Image:
    """Draw the result of ``count_lengths`` as a matrix, coloured by the share of each row."""
    # Not pyplot, which looks for a display and keeps every figure.
    figure = Figure(figsize=(5, 4.2), layout="constrained")
    axes = figure.subplots()
    shares = [[count / max(sum(line), 1) for count in line] for line in counts]
    matrix = axes.imshow(shares, cmap="cividis", vmin=0, vmax=1)
    for true, line in enumerate(counts):
        for predicted, count in enumerate(line):
            colour = "black" if shares[true][predicted] > 0.5 else "white"
            axes.text(predicted, true, str(count), ha="center", va="center", color=colour)
    labels = [name.removesuffix(" %").replace(" to ", "-") for name in BINS]
    axes.set_xticks(range(len(BINS)), labels)
    axes.set_yticks(range(len(BINS)), labels)
    axes.set(title="pairs by length", xlabel="predicted length, % of the video", ylabel="true length, % of the video")
    figure.colorbar(matrix, label="share of the pairs of this true length")
    return _picture(figure)


def _picture(figure: Figure) -> Image.Image:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=DPI)
    return Image.open(stream)
