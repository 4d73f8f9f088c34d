"""Oracles: means, deviations and differences by numpy, a slow bootstrap with the same draws, a printed table of t."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cpnet.errors import ConfigError
from cpnet.reporting.comparison import compare
from cpnet.reporting.tables import Difference, Report
from evaluation import reference
from reporting.made import compared, config, read, spans, write_run

TRUE = spans(12, 100)


def borrowed(folder: Path, baseline: str | None = None) -> Report:
    gathered = read(folder, experiment="levels", baseline_from="other")
    return compare(gathered, experiment="levels", baseline=baseline, resamples=100)


def write_levels(folder: Path, *levels: int, seeds: int = 2, experiment: str | None = None, **changes: Any) -> None:
    """Write runs of some pyramid levels and seeds, in the folders of a sweep."""
    for variant in levels:
        for seed in range(seeds):
            cfg = config(seed=seed, model__pyramid_levels=variant, experiment_name=experiment, **changes)
            write_run(folder / f"{variant}{seed}", cfg=cfg, predicted=spans(12, 10 * variant + seed), true=TRUE)


def ious(predicted: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.array([reference.iou(one, true) for one, true in zip(predicted, TRUE, strict=True)])


def difference(report: Report, row: int) -> Difference:
    found = report.tables[0].rows[row].estimates["mIoU"].difference
    assert found is not None
    return found


def test_a_row_is_a_variant_over_its_seeds(tmp_path: Path) -> None:
    write_levels(tmp_path, 1, 2)
    report = compared(tmp_path)
    (table,) = report.tables
    assert report.reasons == []
    assert [row.name for row in table.rows] == ["model.pyramid_levels=1", "model.pyramid_levels=2"]
    assert table.keys == ("R1@0.5", "dR1@0.5", "mIoU")
    for row, first in zip(table.rows, (10, 20), strict=True):
        by_seed = [reference.mean_iou(spans(12, first + seed)[:, None], TRUE) for seed in (0, 1)]
        estimate = row.estimates["mIoU"]
        assert [run.results.seed for run in row.runs] == [0, 1]
        assert estimate.values == pytest.approx(by_seed)
        assert estimate.mean == pytest.approx(sum(by_seed) / 2)
        assert estimate.sd == pytest.approx(abs(by_seed[0] - by_seed[1]) / 2**0.5)


def test_intervals_of_all_rows_share_their_draws(tmp_path: Path) -> None:
    write_levels(tmp_path, 1, 2)
    report = compared(tmp_path)
    generator = np.random.default_rng(0)
    one, other = ((ious(spans(12, first)) + ious(spans(12, first + 1))) / 2 for first in (10, 20))
    order = sorted(range(12), key=lambda pair: f"q{pair}")  # q0, q1, q10, q11, q2, ...
    drawn = [[order[place] for place in line] for line in generator.integers(12, size=(200, 12))]
    one_ends, other_ends, ends = (
        np.percentile([100 * np.mean([score[pair] for pair in line]) for line in drawn], [2.5, 97.5])
        for score in (one, other, other - one)
    )
    first, second = (row.estimates["mIoU"] for row in report.tables[0].rows)
    assert (first.low, first.high) == pytest.approx(one_ends)
    assert (second.low, second.high) == pytest.approx(other_ends)
    assert first.difference is None
    assert (difference(report, 1).low, difference(report, 1).high) == pytest.approx(ends)
    assert difference(report, 1).mean == pytest.approx(100 * (other - one).mean())


def test_a_row_without_errors_is_clearly_better(tmp_path: Path) -> None:
    for place, (epochs, predicted) in enumerate([(1, None), (2, TRUE), (4, None)]):
        write_run(tmp_path / str(place), cfg=config(epochs=epochs), true=TRUE, predicted=predicted)
    report = compared(tmp_path)
    assert [difference(report, row).clear for row in (1, 2)] == [True, False]
    assert report.tables[0].rows[0].estimates["mIoU"].sd is None


def test_the_interval_over_seeds_is_students_for_the_common_seeds(tmp_path: Path) -> None:
    write_levels(tmp_path, 1, 2, seeds=3)
    write_run(tmp_path / "more", cfg=config(seed=9, model__pyramid_levels=2), predicted=spans(12, 99), true=TRUE)
    gains = [100 * (ious(spans(12, 20 + seed)) - ious(spans(12, 10 + seed))).mean() for seed in range(3)]
    mean, half = statistics.mean(gains), 4.302653 * statistics.stdev(gains) / 3**0.5
    assert difference(compared(tmp_path), 1).seeds == pytest.approx((mean - half, mean + half), rel=1e-6)


@pytest.mark.parametrize(
    ("low", "high", "seeds", "clear"),
    [
        (0.5, 1.5, None, True),
        (0.5, 1.5, (0.1, 1.9), True),
        (0.5, 1.5, (-0.1, 2.1), False),
        (-0.5, 2.5, (0.1, 1.9), False),
        (-0.5, 2.5, None, False),
    ],
)
def test_clear_differences_exclude_zero_from_both_intervals(
    low: float, high: float, seeds: tuple[float, float] | None, clear: bool
) -> None:
    assert Difference(1.0, low, high, seeds).clear is clear
    assert ("*" in str(Difference(1.0, low, high, seeds))) is clear


def test_another_baseline_reverses_the_difference(tmp_path: Path) -> None:
    write_levels(tmp_path, 1, 2, seeds=1)
    there = difference(compared(tmp_path), 1)
    back = difference(compared(tmp_path, baseline="model.pyramid_levels=2"), 0)
    assert (there.mean, there.low, there.high) == pytest.approx((-back.mean, -back.high, -back.low))
    with pytest.raises(ConfigError, match=r"baseline='x': no row has this name; rows: model.pyramid_levels=1; model"):
        compared(tmp_path, baseline="x")


@pytest.mark.parametrize(
    ("protocol", "reason"),
    [
        ({"selection": "test"}, "selection is holdout or test"),
        ({"holdout_fraction": 0.2}, "holdout_fraction is 0.1 or 0.2"),
        ({"ground_truth": "raw"}, "ground_truth is clipped or raw"),
        ({"on_defect": "drop"}, "on_defect is error or drop"),
        ({"missing": {"train": 3, "test": 2}}, "missing is none or 3 of train, 2 of test"),
        ({"strict": True}, "strict is False or True"),
        ({"split": "val"}, "split is test or val"),
        ({"dataset": "other"}, "dataset is tiny or other"),
        (None, "the test pairs differ"),
    ],
)
def test_different_protocols_get_separate_tables(tmp_path: Path, protocol: dict[str, Any] | None, reason: str) -> None:
    write_run(tmp_path / "0")
    write_run(tmp_path / "1", cfg=config(seed=1), protocol=protocol, true=None if protocol else spans(12, 7))
    report = compared(tmp_path)
    assert [len(table.rows) for table in report.tables] == [1, 1]
    assert reason in report.reasons


def test_a_report_of_blind_models_says_so(tmp_path: Path) -> None:
    for seed, blind in enumerate(("video", "video", "none")):
        write_run(tmp_path / f"{seed}", cfg=config(seed=seed, dataset__blind=blind))
        (table,) = compared(tmp_path).tables
        assert ("no model sees the video" in table.sentences()) == (blind == "video")


def test_the_holdout_fraction_is_ignored_without_a_holdout(tmp_path: Path) -> None:
    for place, fraction in enumerate((0.1, 0.2)):
        write_run(tmp_path / f"{place}", protocol={"selection": "file", "holdout_fraction": fraction})
    assert len(compared(tmp_path).tables) == 1


def test_the_newest_of_two_runs_of_a_seed_counts(tmp_path: Path) -> None:
    write_run(tmp_path / "0", predicted=spans(12, 1), true=TRUE, written=2000)
    write_run(tmp_path / "1", predicted=spans(12, 2), true=TRUE, written=1000)
    report = compared(tmp_path)
    assert report.tables[0].rows[0].estimates["mIoU"].mean == pytest.approx(100 * ious(spans(12, 1)).mean())
    assert report.left_out == {tmp_path / "1": f"seed 0 of cpnet exists twice; {tmp_path / '0'} is newer"}


def test_trivial_predictors_and_the_papers_rows_are_references(tmp_path: Path) -> None:
    write_run(tmp_path / "0")
    write_run(tmp_path / "1", cfg=config(model="cpnet_wo_cp"), paper={"mIoU": 51.54}, paper_model="cpnet_wo_cp")
    write_run(tmp_path / "2", cfg=config(model="own"), paper={"mIoU": 1.0})
    (table,) = compared(tmp_path).tables
    assert table.references == {
        "whole video [0, 1]": {"R1@0.5": 1.0, "dR1@0.5": 0.5, "mIoU": 20.0},
        "best constant, mIoU [0, 0.5]": {"R1@0.5": 2.5, "dR1@0.5": 1.0, "mIoU": 22.0},
        "the paper's cpnet": {"R1@0.5": 60.27, "mIoU": 52.0},
        "the paper's cpnet_wo_cp": {"mIoU": 51.54},
    }


def test_notes_list_differences_that_names_leave_out(tmp_path: Path) -> None:
    write_run(tmp_path / "0", cfg=config(epochs=1))
    write_run(tmp_path / "1", cfg=config(epochs=1, seed=1))
    write_run(
        tmp_path / "2",
        cfg=config(epochs=2, trainer__precision="bf16-mixed", metrics__thresholds=[0.3, 0.5]),
        git_commit="0123456789abcdef0123456789abcdef01234567+changes",
        trivial={"whole video": {"span": [0, 1], "metrics": {"mIoU": 3.0}}},
    )
    (table,) = compared(tmp_path).tables
    assert table.notes == (
        "precision differs: 32-true in epochs=1; bf16-mixed in epochs=2",
        "commit differs: 0123456 in epochs=1; 0123456+changes in epochs=2",
        "seeds differ: 0, 1 in epochs=1; 0 in epochs=2",
        "trivial predictors are those of the first run; other runs have other training pairs",
    )
    assert table.keys == ("R1@0.5", "dR1@0.5", "mIoU", "R1@0.3", "dR1@0.3")
    assert ["R1@0.3" in row.estimates for row in table.rows] == [False, True]
    assert table.cells()[1][0][3] == "-"


def test_rows_of_several_models_show_their_costs(tmp_path: Path) -> None:
    forward = {"gflop": 0.5, "pairs_per_sec": 2000.0}
    for seed in (0, 1):
        seconds = {"fit": 120.0 + 120 * seed, "fit_cpu": 60.0}
        write_run(tmp_path / f"{seed}", cfg=config(seed=seed), seconds=seconds, forward=forward)
    write_run(tmp_path / "2", cfg=config(model="snag"))  # of an older version
    (table,) = compared(tmp_path).tables
    heads, lines = table.cells()
    assert heads[-6:-1] == ["parameters (M)", "GFLOP a pair", "training (min)", "training (CPU min)", "pairs/s"]
    assert [line[-6:-1] for line in lines[:3]] == [
        ["0.00123", "0.5", "3", "1", "2000"],
        ["0.00123", "-", "0.0167", "-", "-"],
        [""] * 5,
    ]


def test_the_default_row_of_another_experiment_comes_first(tmp_path: Path) -> None:
    write_levels(tmp_path / "a", 1, 2, experiment="levels")
    write_levels(tmp_path / "b", 3, experiment="other", epochs=9)  # differs in two keys
    write_levels(tmp_path / "c", 3, experiment="other")
    report = borrowed(tmp_path)
    (table,) = report.tables
    assert [row.name for row in table.rows] == [f"model.pyramid_levels={levels}" for levels in (3, 1, 2)]
    assert [run.folder.parent.name for run in table.rows[0].runs] == ["c", "c"]
    assert table.baseline == "model.pyramid_levels=3"
    assert table.notes == ("the row model.pyramid_levels=3 comes from experiment=other",)
    assert report.left_out == {}
    assert borrowed(tmp_path, "model.pyramid_levels=2").tables[0].baseline == "model.pyramid_levels=2"


def test_a_default_row_that_exists_already_comes_first_with_its_own_runs(tmp_path: Path) -> None:
    write_levels(tmp_path / "a", 1, 3, experiment="levels")
    write_levels(tmp_path / "b", 3, experiment="other", seeds=3)
    rows = borrowed(tmp_path).tables[0].rows
    assert [[run.results.seed for run in row.runs] for row in rows] == [[0, 1, 2], [0, 1]]
    assert [run.folder.parent.name for run in rows[0].runs] == ["a", "a", "b"]


def test_a_baseline_of_another_protocol_is_refused(tmp_path: Path) -> None:
    write_levels(tmp_path / "a", 1, experiment="levels")
    write_run(tmp_path / "b", cfg=config(experiment_name="other"), true=TRUE, protocol={"split": "val"})
    with pytest.raises(ConfigError, match="baseline_from=other: its runs have another protocol or other test pairs"):
        borrowed(tmp_path)
