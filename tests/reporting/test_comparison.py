"""Oracle: means, deviations and differences by numpy from the predictions, and a slow bootstrap with the same draws."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cpnet.config import ConfigError
from cpnet.reporting.comparison import compare
from cpnet.reporting.tables import Difference, Report
from metrics import reference
from reporting.made import config, read, spans, write_run

TRUE = spans(12, 100)


def compared(folder: Path, *, baseline: str | None = None, resamples: int = 200) -> Report:
    return compare(read(folder), experiment=None, baseline=baseline, resamples=resamples)


def levels(folder: Path, *, seeds: int = 2) -> None:
    """Two variants of some seeds, in the folders that a sweep makes."""
    for variant in (1, 2):
        for seed in range(seeds):
            cfg = config(seed=seed, model__pyramid_levels=variant)
            write_run(folder / f"{variant}{seed}", cfg=cfg, predicted=spans(12, 10 * variant + seed), true=TRUE)


def ious(predicted: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.array([reference.iou(one, true) for one, true in zip(predicted, TRUE, strict=True)])


def test_a_row_is_a_variant_over_its_seeds(tmp_path: Path) -> None:
    levels(tmp_path)
    (table,) = compared(tmp_path).tables
    assert [row.name for row in table.rows] == ["model.pyramid_levels=1", "model.pyramid_levels=2"]
    assert table.keys == ("R1@0.5", "dR1@0.5", "mIoU")
    for row, first in zip(table.rows, (10, 20), strict=True):
        by_seed = [reference.mean_iou(spans(12, first + seed)[:, None], TRUE) for seed in (0, 1)]
        estimate = row.estimates["mIoU"]
        assert row.seeds == [0, 1]
        assert estimate.values == pytest.approx(by_seed)
        assert estimate.mean == pytest.approx(sum(by_seed) / 2)
        assert estimate.sd == pytest.approx(abs(by_seed[0] - by_seed[1]) / 2**0.5)


def test_intervals_are_of_the_same_draws_for_all_rows(tmp_path: Path) -> None:
    levels(tmp_path)
    (table,) = compared(tmp_path).tables
    generator = np.random.default_rng(0)
    one, other = ((ious(spans(12, first)) + ious(spans(12, first + 1))) / 2 for first in (10, 20))
    # Pairs lie in order of their names: q0, q1, q10, q11, q2, ...
    order = sorted(range(12), key=lambda pair: f"q{pair}")
    drawn = [[order[place] for place in line] for line in generator.integers(12, size=(200, 12))]
    draws = {"one": one, "other": other, "difference": other - one}
    expected = {
        name: np.percentile([100 * np.mean([score[pair] for pair in line]) for line in drawn], [2.5, 97.5])
        for name, score in draws.items()
    }
    first, second = (row.estimates["mIoU"] for row in table.rows)
    assert (first.low, first.high) == pytest.approx(expected["one"])
    assert (second.low, second.high) == pytest.approx(expected["other"])
    assert first.difference is None
    assert second.difference is not None
    assert (second.difference.low, second.difference.high) == pytest.approx(expected["difference"])
    assert second.difference.mean == pytest.approx(100 * (other - one).mean())


def test_a_row_that_is_better_on_every_pair_is_clearly_better(tmp_path: Path) -> None:
    write_run(tmp_path / "0", cfg=config(epochs=1), true=TRUE)
    write_run(tmp_path / "1", cfg=config(epochs=2), true=TRUE, predicted=TRUE)
    write_run(tmp_path / "2", cfg=config(epochs=4), true=TRUE)
    (table,) = compared(tmp_path).tables
    differences = [row.estimates["mIoU"].difference for row in table.rows]
    assert [of and of.clear for of in differences] == [None, True, False]
    assert table.rows[0].estimates["mIoU"].sd is None


def test_the_interval_over_seeds_is_students_of_the_seeds_in_common(tmp_path: Path) -> None:
    levels(tmp_path, seeds=3)
    write_run(tmp_path / "more", cfg=config(seed=9, model__pyramid_levels=2), predicted=spans(12, 99), true=TRUE)
    (table,) = compared(tmp_path).tables
    of = table.rows[1].estimates["mIoU"].difference
    gains = [100 * (ious(spans(12, 20 + seed)) - ious(spans(12, 10 + seed))).mean() for seed in range(3)]
    half = 4.302653 * statistics.stdev(gains) / 3**0.5
    assert of is not None
    assert of.seeds == pytest.approx((statistics.mean(gains) - half, statistics.mean(gains) + half), rel=1e-3)


def test_what_one_seed_in_three_shows_is_not_clear() -> None:
    assert Difference(1.0, 0.5, 1.5).clear
    assert Difference(1.0, 0.5, 1.5, (0.1, 1.9)).clear
    assert not Difference(1.0, 0.5, 1.5, (-0.1, 2.1)).clear
    assert not Difference(1.0, -0.5, 2.5, (0.1, 1.9)).clear


@pytest.mark.parametrize(("seeds", "said"), [(1, "of other seeds it says nothing"), (2, "t interval over the seeds")])
def test_the_caption_says_what_a_star_means(tmp_path: Path, seeds: int, said: str) -> None:
    levels(tmp_path, seeds=seeds)
    assert said in compared(tmp_path).tables[0].caption()[-1]


def test_a_run_that_another_experiment_took_is_not_here_twice(tmp_path: Path) -> None:
    write_run(tmp_path / "0")
    write_run(tmp_path / "1", run_of="0")
    assert compared(tmp_path).left_out == []


def test_another_baseline_turns_the_difference_round(tmp_path: Path) -> None:
    levels(tmp_path, seeds=1)
    (one,), (other,) = compared(tmp_path).tables, compared(tmp_path, baseline="model.pyramid_levels=2").tables
    there, back = one.rows[1].estimates["mIoU"].difference, other.rows[0].estimates["mIoU"].difference
    assert there is not None
    assert back is not None
    assert (there.mean, there.low, there.high) == pytest.approx((-back.mean, -back.high, -back.low))
    with pytest.raises(ConfigError, match=r"baseline='x': no row has this name; rows: model.pyramid_levels=1; model"):
        compared(tmp_path, baseline="x")


@pytest.mark.parametrize(
    ("protocol", "reason"),
    [
        ({"selection": "THE TEST SPLIT"}, "selection is 10% of the training videos, held out or THE TEST SPLIT"),
        ({"ground_truth": "raw"}, "ground_truth is clipped or raw"),
        ({"on_defect": "drop"}, "on_defect is error or drop"),
        ({"split": "val"}, "split is test or val"),
        ({"dataset": "other"}, "dataset is tiny or other"),
    ],
)
def test_protocols_do_not_mix(tmp_path: Path, protocol: dict[str, Any], reason: str) -> None:
    write_run(tmp_path / "0")
    write_run(tmp_path / "1", cfg=config(seed=1), protocol=protocol)
    report = compared(tmp_path)
    assert [len(table.rows) for table in report.tables] == [1, 1]
    assert report.reasons == [reason]


def test_strictness_and_other_pairs_do_not_mix_either(tmp_path: Path) -> None:
    write_run(tmp_path / "0")
    write_run(tmp_path / "1", cfg=config(metrics__strict=True))
    write_run(tmp_path / "2", true=spans(12, 7))
    report = compared(tmp_path)
    assert len(report.tables) == 3
    assert report.reasons == ["strict is False or True", "the test pairs are not the same"]


def test_one_protocol_needs_no_reason(tmp_path: Path) -> None:
    levels(tmp_path)
    assert compared(tmp_path).reasons == []


def test_a_test_split_that_chose_the_checkpoint_is_shouted(tmp_path: Path) -> None:
    write_run(tmp_path / "0", protocol={"selection": "THE TEST SPLIT"})
    write_run(tmp_path / "1")
    loud, quiet = (table.caption() for table in compared(tmp_path).tables)
    assert loud[0].isupper()
    assert "TEST SPLIT" in loud[0]
    assert not any(line.isupper() for line in quiet)


def test_of_two_runs_of_a_seed_the_newest_counts(tmp_path: Path) -> None:
    write_run(tmp_path / "0", predicted=spans(12, 1), true=TRUE, written=2000)
    write_run(tmp_path / "1", predicted=spans(12, 2), true=TRUE, written=1000)
    report = compared(tmp_path)
    assert report.tables[0].rows[0].estimates["mIoU"].mean == pytest.approx(100 * ious(spans(12, 1)).mean())
    (left,) = report.left_out
    assert left.folder == tmp_path / "1"
    assert left.reason == f"seed 0 of cpnet is here twice; {tmp_path / '0'} is newer"


def test_trivial_predictors_and_the_papers_rows_stand_beside(tmp_path: Path) -> None:
    write_run(tmp_path / "0")
    write_run(tmp_path / "1", cfg=config(model="cpnet_wo_cp"), paper={"mIoU": 51.54}, paper_model="cpnet_wo_cp")
    write_run(tmp_path / "2", cfg=config(model="own"), paper={"mIoU": 1.0})
    (table,) = compared(tmp_path).tables
    assert [each.name for each in table.trivial] == ["whole video [0, 1]", "best constant, mIoU [0, 0.5]"]
    assert [(each.name, each.metrics) for each in table.paper] == [
        ("the paper's cpnet", {"R1@0.5": 60.27, "mIoU": 52.0}),
        ("the paper's cpnet_wo_cp", {"mIoU": 51.54}),
    ]


def test_notes_tell_what_names_do_not(tmp_path: Path) -> None:
    write_run(tmp_path / "0", cfg=config(epochs=1))
    write_run(tmp_path / "1", cfg=config(epochs=1, seed=1))
    write_run(
        tmp_path / "2",
        cfg=config(
            epochs=2,
            trainer__precision="bf16-mixed",
            metrics__thresholds=[0.3, 0.5],
        ),
        git_commit="0123456789abcdef0123456789abcdef01234567+changes",
        trivial={"whole video": {"span": [0, 1], "metrics": {"mIoU": 3.0}}},
    )
    (table,) = compared(tmp_path).tables
    assert table.notes == (
        "precision differs: 32-true in epochs=1; bf16-mixed in epochs=2",
        "commit differs: 0123456 in epochs=1; 0123456+changes in epochs=2",
        "seeds differ: 0, 1 in epochs=1; 0 in epochs=2",
        "not all runs have R1@0.3, dR1@0.3: left out",
        "the trivial predictors differ between runs, which have other training pairs: the first run's are shown",
    )
    assert table.keys == ("R1@0.5", "dR1@0.5", "mIoU")
