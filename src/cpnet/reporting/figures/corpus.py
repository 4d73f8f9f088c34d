"""Figures of a corpus: where its moments lie, how long its queries are, and which words a model answers well."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from cpnet.evaluation.functional import Floats
from cpnet.reporting.figures.style import BLUE, COLUMN, FONT, GREEN, ORANGE, VERMILION, plain

BINS = 20  # of start and of length
FEWEST = 10  # pairs of which a mean IoU is drawn
WORDS = 12  # at each end of the list of words
LONGEST_QUERY = 30  # words; longer ones share a bar


@dataclass(frozen=True)
class WordScore:
    """Mean IoU of the pairs whose query has a word, and the half of its 95 % interval, both in [0, 1]."""

    word: str
    pairs: int
    iou: float
    half: float


def count_moments(spans: Floats) -> Floats:
    """Return the per cent of spans by bins of start (rows) and length (columns), in fractions of the video.

    Shape: spans (N, 2) in fractions -> (20, 20)
    """
    # 1e-9, because a length of 0.2 may be computed as 0.19999.
    starts, lengths = spans[:, 0] + 1e-9, spans[:, 1] - spans[:, 0] + 1e-9
    counts, _, _ = np.histogram2d(starts.clip(0, 1), lengths.clip(0, 1), bins=BINS, range=[[0, 1], [0, 1]])
    shares: Floats = 100 * counts / max(len(spans), 1)
    return shares


def draw_moments(groups: Mapping[str, Floats], constants: Mapping[str, tuple[float, float]]) -> Figure:
    """Draw spans by start and length in one panel for each group, and constant predictors as marks.

    Shape: spans of each group (N, 2) in fractions of the video
    """
    shares = {name: count_moments(spans) for name, spans in groups.items()}
    norm = PowerNorm(0.5, 0, max(float(each.max()) for each in shares.values()) or 1.0)  # rare ones stay visible
    figure = Figure(figsize=(COLUMN, 1.75), layout="compressed")
    panels = figure.subplots(1, len(groups), sharey=True, squeeze=False)[0]
    edges = np.linspace(0, 1, BINS + 1)
    for axes, (name, share) in zip(panels, shares.items(), strict=True):
        mesh = axes.pcolormesh(edges, edges, np.where(share > 0, share, np.nan).T, cmap="cividis", norm=norm)
        mesh.set_rasterized(True)
        axes.plot([0, 1], [1, 0], color="0.5", linewidth=0.5)
        for (constant, (start, end)), marker in zip(constants.items(), "sD^", strict=False):
            look = {"markersize": 4, "color": VERMILION, "markeredgecolor": "white", "markeredgewidth": 0.5}
            axes.plot(start, end - start, marker, label=constant, linestyle="none", clip_on=False, **look)
        axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", xlabel="start", xticks=[0, 0.5, 1])
        axes.set_title(f"{plain(name)}\n{len(groups[name])} spans", fontsize=FONT - 1)
    panels[0].set_ylabel("length")
    bar = figure.colorbar(mesh, ax=panels, label="per cent", aspect=12, shrink=0.8)
    bar.outline.set_linewidth(0.5)
    figure.legend(
        *panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False, columnspacing=1
    )
    return figure


def moment_numbers(groups: Mapping[str, Floats]) -> Iterator[dict[str, Any]]:
    """Yield a record for each bin that has spans."""
    for name, spans in groups.items():
        shares = count_moments(spans)
        for start, length in np.argwhere(shares > 0).tolist():
            bins = {"start": f"{start / BINS:g}", "length": f"{length / BINS:g}"}
            yield {"group": name, **bins, "per_cent": f"{shares[start, length]:.4g}"}


def query_numbers(lengths: Mapping[str, Sequence[int]], tested: str, iou: Floats | None) -> list[dict[str, Any]]:
    """Return a record for each number of words: the per cent of queries by split, and the mean IoU of ``tested``."""
    counts = {name: np.clip(each, 1, LONGEST_QUERY) for name, each in lengths.items()}
    records = []
    used = np.concatenate([*counts.values()])
    for words in range(int(used.min()), int(used.max()) + 1):
        record: dict[str, Any] = {"words": words}
        record |= {f"{name}_per_cent": float(100 * (each == words).mean()) for name, each in counts.items()}
        chosen = counts[tested] == words
        record |= {f"{tested}_pairs": int(chosen.sum())}
        if iou is not None and chosen.any():
            record["mean_iou"] = float(iou[chosen].mean())
        records.append(record)
    return records


def draw_queries(records: Sequence[Mapping[str, Any]], splits: Sequence[str], tested: str) -> Figure:
    """Draw the per cent of queries by their number of words, and dots for the mean IoU of enough pairs."""
    figure = Figure(figsize=(COLUMN, 1.9), layout="constrained")
    axes = figure.subplots()
    words = np.array([record["words"] for record in records])
    for split, colour, shift in zip(splits, (BLUE, ORANGE), (-0.2, 0.2), strict=False):
        heights = [record[f"{split}_per_cent"] for record in records]
        axes.bar(words + shift, heights, 0.4, color=colour, label=f"queries of {split}")
    enough = [each for each in records if "mean_iou" in each and each[f"{tested}_pairs"] >= FEWEST]
    axes.set_xlim(words[0] - 0.6, words[-1] + 0.6)
    more = f" ({LONGEST_QUERY}: or more)" if words[-1] == LONGEST_QUERY else ""
    axes.set(xlabel=f"words of a query{more}", ylabel="queries (per cent)")
    handles, labels = axes.get_legend_handles_labels()
    if enough:
        right = axes.twinx()
        dots = [each["words"] for each in enough], [100 * each["mean_iou"] for each in enough]
        right.plot(*dots, "o-", color=GREEN, markersize=2.5, linewidth=0.8, label=f"mean IoU ({FEWEST} pairs or more)")
        right.set(ylim=(0, 100), ylabel="mean IoU (per cent)")
        handles, labels = (a + b for a, b in zip((handles, labels), right.get_legend_handles_labels(), strict=True))
    figure.legend(handles, labels, loc="outside upper center", ncols=3, frameon=False, columnspacing=1)
    return figure


def score_words(queries: Sequence[Sequence[str]], iou: Floats) -> list[WordScore]:
    """Return the scores of the words of at least 10 queries, lowest mean IoU first. A query counts once for a word."""
    found: defaultdict[str, list[float]] = defaultdict(list)
    for words, score in zip(queries, iou.tolist(), strict=True):
        for word in {*words}:
            if any(map(str.isalnum, word)):
                found[word].append(score)
    scores = [
        WordScore(word, len(each), float(np.mean(each)), 1.96 * float(np.std(each, ddof=1)) / len(each) ** 0.5)
        for word, each in found.items()
        if len(each) >= FEWEST
    ]
    return sorted(scores, key=lambda score: (score.iou, score.word))


def draw_words(scores: Sequence[WordScore], mean: float) -> Figure:
    """Draw the words of the lowest and the highest mean IoU with 95 % intervals, and a line at the mean of all."""
    ends = [*scores[:WORDS], *scores[max(WORDS, len(scores) - WORDS) :]]
    figure = Figure(figsize=(COLUMN, 0.7 + 0.115 * len(ends)), layout="constrained")
    axes = figure.subplots()
    places, means, halves = range(len(ends)), [100 * each.iou for each in ends], [100 * each.half for each in ends]
    colours = [VERMILION if place < WORDS else BLUE for place in places]
    axes.barh(places, means, xerr=halves, color=colours, alpha=0.75, height=0.75, error_kw={"linewidth": 0.7})
    axes.axvline(100 * mean, color="0.3", linewidth=0.7, linestyle="--")
    axes.set_yticks(range(len(ends)), [f"{plain(each.word)[:20]} ({each.pairs})" for each in ends])
    axes.set(
        ylim=(len(ends) - 0.4, -0.6), xlim=(0, 100), xlabel="mean IoU of the pairs (per cent)\ndashed: of all pairs"
    )
    return figure
