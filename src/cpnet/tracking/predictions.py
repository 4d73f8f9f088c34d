"""Tables and pictures of predictions, made from predictions.jsonl alone."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

Row = Mapping[str, Any]  # of predictions.jsonl

WIDTH, HEIGHT = 240, 40  # pixels of a timeline
THINNEST = 2  # pixels of a span, so that a short one is seen
# Okabe and Ito's, which the colour-blind tell apart.
VIDEO, TRUE, PREDICTED = "#bbbbbb", "#0072b2", "#e69f00"
BINS = ("0 to 20 %", "20 to 40 %", "40 to 60 %", "60 to 80 %", "80 to 100 %")  # lengths, of the video's
COLUMNS = (
    *("query", "video", "duration", "true start", "true end", "predicted start", "predicted end", "IoU"),
    "timeline",
)


def tables_and_pictures(predictions: Path, *, most: int) -> dict[str, Any]:
    """Give what W&B shows of a file of predictions, by key.

    ``predictions`` is a table of at most ``most`` rows, times in seconds; it is left out where there would be none.
    ``length_confusion`` is a picture, and ``length_confusion_table`` a table, of true against predicted lengths.
    """
    import wandb

    confusion = length_confusion(read_rows(predictions))
    lines = [[name, *counts] for name, counts in zip(BINS, confusion, strict=True)]
    media: dict[str, Any] = {
        "length_confusion": wandb.Image(draw_confusion(confusion)),
        "length_confusion_table": wandb.Table(columns=["true length", *BINS], data=lines),
    }
    if chosen := choose_rows(predictions, most):
        data = [[*cells(row), wandb.Image(draw_timeline(row))] for row in chosen]
        media["predictions"] = wandb.Table(columns=list(COLUMNS), data=data)
    return media


def read_rows(path: Path) -> Iterator[Row]:
    """Read predictions.jsonl, which may be larger than the memory, row by row."""
    with path.open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def choose_rows(path: Path, most: int) -> list[Row]:
    """Read the rows of predictions.jsonl that ``choose`` takes, in its order."""
    chosen = choose([row["iou"] for row in read_rows(path)], most)
    wanted = set(chosen)
    rows = {place: row for place, row in enumerate(read_rows(path)) if place in wanted}
    return [rows[place] for place in chosen]


def choose(ious: Sequence[float], most: int) -> list[int]:
    """Take the places of at most ``most`` IoUs, from the worst to the best in even steps; so good and bad ones show.

    >>> choose([0.5, 0.0, 0.3, 1.0, 0.9], 3)
    [1, 0, 3]
    """
    ranked = sorted(range(len(ious)), key=ious.__getitem__)
    if len(ranked) <= most:
        return ranked
    if most < 2:
        return ranked[len(ranked) // 2 :][:most]
    return [ranked[round(step * (len(ranked) - 1) / (most - 1))] for step in range(most)]


def cells(row: Row) -> list[Any]:
    """Give a row of the table, without its picture."""
    times = (row["duration"], *row["true"], *row["predicted"][0])
    return [row["query"], row["video"], *(round(float(time), 2) for time in times), round(float(row["iou"]), 4)]


def draw_timeline(row: Row) -> Image.Image:
    """Draw the video as a grey bar, the true span in blue in its upper half, the predicted one in orange below."""
    picture = Image.new("RGB", (WIDTH, HEIGHT), VIDEO)
    draw = ImageDraw.Draw(picture)
    middle = HEIGHT // 2
    for (start, end), colour, top in ((row["true"], TRUE, 0), (row["predicted"][0], PREDICTED, middle)):
        left, right = (round(WIDTH * min(max(time / row["duration"], 0), 1)) for time in (start, end))
        left = min(left, WIDTH - THINNEST)
        right = max(right, left + THINNEST)
        draw.rectangle((left, top, right - 1, top + middle - 1), fill=colour)
    return picture


def length_confusion(rows: Iterable[Row]) -> list[list[int]]:
    """Count pairs by the bin of their true length (the row) and of the predicted one (the column).

    Lengths are fractions of the video; a span that ends before it starts has the length 0.
    """
    counts = [[0] * len(BINS) for _ in BINS]
    for row in rows:
        true, predicted = (_length_bin(span, row["duration"]) for span in (row["true"], row["predicted"][0]))
        counts[true][predicted] += 1
    return counts


def _length_bin(span: Sequence[float], duration: float) -> int:
    start, end = span
    # A hair is added, as 0.2 of a video may come out as 0.19999.
    return min(max(int((end - start) / duration * len(BINS) + 1e-9), 0), len(BINS) - 1)


def draw_confusion(counts: Sequence[Sequence[int]]) -> Image.Image:
    """Draw the counts as a picture whose colours are shares of each row."""
    from matplotlib.figure import Figure

    # Not pyplot, which would look for a display and keep the figure.
    figure = Figure(figsize=(5, 4.2), layout="constrained")
    axes = figure.subplots()
    shares = [[count / max(sum(line), 1) for count in line] for line in counts]
    shown = axes.imshow(shares, cmap="cividis", vmin=0, vmax=1)
    for true, line in enumerate(counts):
        for predicted, count in enumerate(line):
            colour = "black" if shares[true][predicted] > 0.5 else "white"
            axes.text(predicted, true, str(count), ha="center", va="center", color=colour)
    ticks = range(len(BINS))
    labels = [name.removesuffix(" %").replace(" to ", "-") for name in BINS]
    axes.set_xticks(ticks, labels)
    axes.set_yticks(ticks, labels)
    axes.set(title="pairs by length", xlabel="predicted length, % of the video", ylabel="true length, % of the video")
    figure.colorbar(shown, label="share of the true length's pairs")
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=100)
    return Image.open(stream)
