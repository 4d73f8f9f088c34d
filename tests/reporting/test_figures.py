"""Oracle: points of lines computed by numpy from the predictions, and the pictures' own headers."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from cpnet.reporting import figures
from cpnet.reporting.comparison import compare
from cpnet.reporting.tables import Table
from metrics import reference
from reporting.made import config, read, spans, write_run

TRUE = spans(40, 100)


def table(folder: Path, *, variants: int = 2, seeds: int = 2, curves: bool = True) -> Table:
    for variant in range(variants):
        for seed in range(seeds):
            write_run(
                folder / f"{variant}/{seed}",
                cfg=config(seed=seed, novelty=f"$a_{variant}"),
                predicted=spans(40, 10 * variant + seed),
                true=TRUE,
                curves=[(3.0 - variant, 10.0), (2.0 + seed, 20.0), *[(1.0, 30.0)] * seed] if curves else [],
            )
    return compare(read(folder), experiment=None, baseline=None, resamples=100).tables[0]


def test_every_picture_is_drawn(tmp_path: Path) -> None:
    files = figures.draw(table(tmp_path / "runs"), tmp_path, prefix="1_")
    assert sorted(files.values()) == [
        f"1_{name}.png" for name in ("differences", "iou", "moments", "recall", "training")
    ]
    for file in files.values():
        head = (tmp_path / file).read_bytes()[:24]
        width, height = struct.unpack(">II", head[16:])
        assert head.startswith(b"\x89PNG")
        assert 500 < width < 2000
        assert 200 < height < 2000


@pytest.mark.parametrize("variants", [1, 30])
def test_one_row_and_many_are_drawn(tmp_path: Path, variants: int) -> None:
    files = figures.draw(table(tmp_path / "runs", variants=variants, seeds=1, curves=False), tmp_path)
    names = {"iou.png", "moments.png", "recall.png"} | ({"differences.png"} if variants > 1 else set())
    assert set(files.values()) == names


def test_recall_falls_as_numpy_says(tmp_path: Path) -> None:
    (axes,) = figures.recall(table(tmp_path)).axes
    for variant, line in enumerate(axes.lines[:2]):
        expected = [
            np.mean([reference.recall(spans(40, 10 * variant + s)[:, None], TRUE, n=1, threshold=m) for s in (0, 1)])
            for m in np.arange(0.05, 0.96, 0.05)
        ]
        np.testing.assert_allclose(np.asarray(line.get_ydata()), expected)
    constant = np.tile([[0.0, 10.0]], (40, 1))[:, None]
    whole = [reference.recall(constant, TRUE, n=1, threshold=m) for m in np.arange(0.05, 0.96, 0.05)]
    np.testing.assert_allclose(np.asarray(axes.lines[2].get_ydata()), whole)


def test_a_histogram_counts_every_pair(tmp_path: Path) -> None:
    panels = figures.iou_histogram(table(tmp_path)).axes
    for axes in panels:
        for patch in axes.patches:
            values = patch.get_data().values  # type: ignore[attr-defined]
            assert sum(values) == pytest.approx(100)


def test_the_mean_of_all_bins_is_the_mean(tmp_path: Path) -> None:
    shown = table(tmp_path)
    figure = figures.moments(shown)
    for axes, values in zip(figure.axes, (TRUE[:, 1] - TRUE[:, 0], TRUE.mean(axis=1)), strict=True):
        bins = np.floor(values).astype(int).clip(0, 9)
        iou = [np.mean([reference.iou(spans(40, s)[p], TRUE[p]) for s in (0, 1)]) for p in range(40)]
        fewest = min(figures.FEWEST, np.bincount(bins).max())
        expected = [
            (b / 10 + 0.05, 100 * np.mean([iou[p] for p in range(40) if bins[p] == b]))
            for b in range(10)
            if np.sum(bins == b) >= fewest
        ]
        np.testing.assert_allclose(np.asarray(axes.lines[0].get_xydata()), expected)


def test_curves_are_means_over_the_epochs_that_all_seeds_have(tmp_path: Path) -> None:
    loss, miou = figures.training(table(tmp_path)).axes
    assert np.asarray(loss.lines[0].get_xydata()).tolist() == [[1.0, 3.0], [2.0, 2.5]]
    assert np.asarray(miou.lines[1].get_ydata()).tolist() == [10.0, 20.0]
    band = loss.collections[0].get_paths()[0].vertices
    assert np.asarray(band)[:, 1].max() == pytest.approx(2.5 + 0.5**0.5)


def test_the_forest_has_a_line_for_every_other_row(tmp_path: Path) -> None:
    shown = table(tmp_path, variants=3)
    (axes,) = figures.differences(shown).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["novelty=$a_1", "novelty=$a_2"]
    of = shown.rows[1].estimates["mIoU"].difference
    assert of is not None
    assert of.seeds is not None
    for line, points in zip(axes.lines[1:4], ([*of.seeds], [of.low, of.high], [of.mean]), strict=True):
        assert np.asarray(line.get_xdata()).tolist() == points
    low, high = axes.get_xlim()
    assert low < min(of.low, 0.0) <= max(of.high, 0.0) < high


def test_the_lowest_panel_of_each_column_has_numbers(tmp_path: Path) -> None:
    figure = figures.iou_histogram(table(tmp_path, variants=5, seeds=1))
    figure.canvas.draw()
    shown = [any(label.get_visible() for label in axes.get_xticklabels()) for axes in figure.axes[:5]]
    assert shown == [False, True, True, True, True]


def test_pictures_say_that_the_checkpoint_was_chosen_on_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    titles = []
    monkeypatch.setattr(Figure, "suptitle", lambda figure, title, **style: titles.append(title))
    write_run(tmp_path / "run", protocol={"selection": "THE TEST SPLIT"})
    figures.draw(compare(read(tmp_path), experiment=None, baseline=None, resamples=100).tables[0], tmp_path)
    assert titles
    assert all(title.endswith(", CHOSEN ON TEST") for title in titles)


def test_twelve_rows_are_told_apart(tmp_path: Path) -> None:
    (axes,) = figures.recall(table(tmp_path, variants=12, seeds=1)).axes
    styles = {(line.get_color(), str(line.get_linestyle())) for line in axes.lines[:12]}
    assert len(styles) == 12


def test_one_epoch_has_one_tick(tmp_path: Path) -> None:
    write_run(tmp_path / "run", cfg=config(), curves=[(3.0, 10.0)])
    shown = compare(read(tmp_path), experiment=None, baseline=None, resamples=100).tables[0]
    assert [axes.get_xticks().tolist() for axes in figures.training(shown).axes] == [[1.0], [1.0]]


def test_bins_of_few_pairs_are_explained(tmp_path: Path) -> None:
    long = np.tile([[0.0, 9.5]], (40, 1))
    long[:3] = [0.5, 1.0]
    write_run(tmp_path / "run", cfg=config(), predicted=long, true=long)
    shown = compare(read(tmp_path), experiment=None, baseline=None, resamples=100).tables[0]
    for axes in figures.moments(shown).axes:
        assert len(np.asarray(axes.lines[0].get_xdata())) == 1
        assert axes.get_xlabel().endswith("no dot: fewer than 10 pairs")
