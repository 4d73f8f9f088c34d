"""Oracles: points of lines computed by numpy from the predictions, and the headers of the PNG files."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from cpnet.reporting.figures import tables
from cpnet.reporting.tables import Table
from evaluation import reference
from reporting.made import compared, config, spans, write_run

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
    return compared(folder).tables[0]


@pytest.mark.parametrize(
    ("variants", "curves"), [(2, True), (1, False), pytest.param(30, False, marks=pytest.mark.slow)]
)
def test_every_picture_is_drawn(tmp_path: Path, variants: int, curves: bool) -> None:
    files = tables.draw(table(tmp_path / "runs", variants=variants, curves=curves), tmp_path, prefix="1_")
    names = (
        {"iou", "breakdown", "recall"}
        | ({"training"} if curves else set())
        | ({"differences"} if variants > 1 else set())
    )
    assert set(files.values()) == {f"1_{name}.png" for name in names}
    for file in files.values():
        head = (tmp_path / file).read_bytes()[:24]
        width, height = struct.unpack(">II", head[16:])
        assert head.startswith(b"\x89PNG")
        assert 500 < width < 2000
        assert 200 < height < 3000


def test_recall_equals_the_reference_at_each_threshold(tmp_path: Path) -> None:
    (axes,) = tables.recall(table(tmp_path)).axes
    for variant, line in enumerate(axes.lines[:2]):
        expected = [
            np.mean([reference.recall(spans(40, 10 * variant + s)[:, None], TRUE, n=1, threshold=m) for s in (0, 1)])
            for m in np.arange(0.05, 0.96, 0.05)
        ]
        np.testing.assert_allclose(np.asarray(line.get_ydata()), expected)
    constant = np.tile([[0.0, 10.0]], (40, 1))[:, None]
    whole = [reference.recall(constant, TRUE, n=1, threshold=m) for m in np.arange(0.05, 0.96, 0.05)]
    np.testing.assert_allclose(np.asarray(axes.lines[2].get_ydata()), whole)


def test_trivial_recall_is_measured_by_the_best_window(tmp_path: Path) -> None:
    true = np.stack([spans(40, 101), TRUE], axis=1)
    write_run(tmp_path / "run", true=true)
    (axes,) = tables.recall(compared(tmp_path).tables[0]).axes
    half = [
        reference.recall(np.tile([[[0.0, 5.0]]], (40, 1, 1)), true, n=1, threshold=m)
        for m in np.arange(0.05, 0.96, 0.05)
    ]
    np.testing.assert_allclose(np.asarray(axes.lines[2].get_ydata()), half)


def test_histogram_has_the_shares_of_each_row(tmp_path: Path) -> None:
    (axes,) = tables.iou_histogram(table(tmp_path)).axes
    for variant, patch in enumerate(axes.patches):
        iou = [reference.iou(spans(40, 10 * variant + s)[p], TRUE[p]) for s in (0, 1) for p in range(40)]
        expected = 100 * np.bincount(np.floor(np.multiply(iou, 20)).astype(int), minlength=20)[:20] / 80
        shares: list[float] = patch.get_data().values.tolist()  # type: ignore[attr-defined]
        assert shares == pytest.approx(expected.tolist())


def test_curves_are_means_over_the_common_epochs(tmp_path: Path) -> None:
    loss, miou = tables.training(table(tmp_path)).axes
    assert np.asarray(loss.lines[0].get_xydata()).tolist() == [[1.0, 3.0], [2.0, 2.5]]
    assert np.asarray(miou.lines[1].get_ydata()).tolist() == [10.0, 20.0]
    band = loss.collections[0].get_paths()[0].vertices
    assert np.asarray(band)[:, 1].max() == pytest.approx(2.5 + 0.5**0.5)


def test_a_row_without_curves_has_no_line(tmp_path: Path) -> None:
    write_run(tmp_path / "1", cfg=config(novelty="x"), curves=[(3.0, 10.0)])
    write_run(tmp_path / "2", cfg=config(novelty="y"))
    assert [len(axes.lines) for axes in tables.training(compared(tmp_path).tables[0]).axes] == [1, 1]


def test_each_compared_row_has_its_intervals(tmp_path: Path) -> None:
    shown = table(tmp_path, variants=3)
    (axes,) = tables.differences(shown).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["novelty=$a_1", "novelty=$a_2"]
    of = shown.rows[1].estimates["mIoU"].difference
    assert of is not None
    assert of.seeds is not None
    for line, points in zip(axes.lines[1:4], ([*of.seeds], [of.low, of.high], [of.mean]), strict=True):
        assert np.asarray(line.get_xdata()).tolist() == points
    low, high = axes.get_xlim()
    assert low < min(of.low, 0.0) <= max(of.high, 0.0) < high


def test_models_without_measured_costs_have_no_picture_of_them(tmp_path: Path) -> None:
    for model in ("cpnet", "snag"):
        write_run(tmp_path / model, cfg=config(model=model))  # of an older version
    shown = compared(tmp_path).tables[0]
    assert shown.costs == ["parameters (M)", "training (min)"]
    assert "cost.png" not in tables.draw(shown, tmp_path).values()


def test_points_lie_at_their_costs_with_intervals_over_seeds(tmp_path: Path) -> None:
    for variant, model in enumerate(("cpnet", "snag")):
        for seed in (0, 1, 2):
            write_run(
                tmp_path / f"{variant}/{seed}",
                cfg=config(model=model, seed=seed),
                predicted=spans(40, 10 * variant + seed),
                true=TRUE,
                seconds={"fit": 1.0, "fit_cpu": 60.0 * (1 + variant)},
                forward={"gflop": 0.1 + variant, "pairs_per_sec": 1.0},
            )
    shown = compared(tmp_path).tables[0]
    for axes, costs in zip(tables.cost(shown).axes, ([0.1, 1.1], [1.0, 2.0]), strict=True):
        assert axes.get_xscale() == "log"
        for row, x, bar, dot in zip(shown.rows, costs, axes.lines[::2], axes.lines[1::2], strict=True):
            estimate = row.estimates["mIoU"]
            assert estimate.sd is not None
            half = 4.302653 * estimate.sd / 3**0.5  # Student's t of two degrees of freedom
            assert np.asarray(dot.get_xydata()).tolist() == [[pytest.approx(x), estimate.mean]]
            np.testing.assert_allclose(np.asarray(bar.get_ydata()), [estimate.mean - half, estimate.mean + half])


def test_titles_warn_of_checkpoints_chosen_on_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    titles = []
    monkeypatch.setattr(Figure, "suptitle", lambda figure, title, **style: titles.append(title))
    write_run(tmp_path / "run", protocol={"selection": "test"})
    tables.draw(compared(tmp_path).tables[0], tmp_path)
    assert titles
    assert all(title.endswith(", CHOSEN ON TEST") for title in titles)
