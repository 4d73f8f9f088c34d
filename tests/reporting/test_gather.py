"""Oracle: folders damaged by hand, whose metrics come from ``tests/evaluation/reference.py``."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cpnet.errors import DataError
from cpnet.reporting.gather import find
from cpnet.runs.results import Results
from reporting.made import compared, config, read, rows, spans, write_run


def test_a_run_is_read_with_its_scores(tmp_path: Path) -> None:
    true = np.array([[0.0, 10.0], [2.0, 4.0]])
    write_run(
        tmp_path / "a", true=true, predicted=np.array([[0.0, 6.0], [3.0, 5.0]]), curves=[(3.0, 10.0), (2.0, 20.0)]
    )
    (run,) = read(tmp_path).runs
    assert run.scores["mIoU"].tolist() == pytest.approx([0.6, 1 / 3])
    assert run.scores["R1@0.5"].tolist() == [1.0, 0.0]
    assert run.scores["dR1@0.5"].tolist() == pytest.approx([0.6, 0.0])
    np.testing.assert_allclose(run.windows, true[:, None] / 10)
    assert run.curves == {"train/loss": {0: 3.0, 1: 2.0}, "val/mIoU": {0: 10.0, 1: 20.0}}


def test_several_windows_are_padded_and_the_best_one_counts(tmp_path: Path) -> None:
    folder = write_run(
        tmp_path / "a", true=np.array([[[2.0, 4.0], [0.0, 6.0]]] * 2), predicted=np.array([[0.0, 5.0]] * 2)
    )
    path = folder / "predictions.jsonl"
    path.write_text(path.read_text().replace('"true": [[2.0, 4.0], [0.0, 6.0]]', '"true": [[0.0, 6.0]]', 1))
    (run,) = read(tmp_path).runs
    assert run.windows.tolist() == [[[0.0, 0.6]] * 2, [[0.2, 0.4], [0.0, 0.6]]]
    assert run.scores["mIoU"].tolist() == pytest.approx([5 / 6] * 2)


def test_further_test_splits_are_runs_with_the_config_and_curves_of_theirs(tmp_path: Path) -> None:
    write_run(tmp_path / "a", protocol={"split": "test_iid"}, curves=[(3.0, 10.0)])
    write_run(tmp_path / "other", true=spans(9, 3), protocol={"split": "test_ood"})
    (tmp_path / "a/test_ood").mkdir()
    for name in ("results.json", "predictions.jsonl"):
        (tmp_path / "other" / name).rename(tmp_path / "a/test_ood" / name)
    iid, ood = read(tmp_path).runs
    assert [run.folder.name for run in (iid, ood)] == ["a", "test_ood"]
    assert [run.results.pairs for run in (iid, ood)] == [12, 9]
    assert (ood.config, ood.curves) == (iid.config, iid.curves)
    report = compared(tmp_path)
    assert [table.protocol.split for table in report.tables] == ["test_iid", "test_ood"]
    assert report.reasons[0] == "split is test_iid or test_ood"
    assert "dR@1,IoU@0.5" in report.tables[0].cells()[0]
    write_run(tmp_path / "a/test_other")  # a run may have any name
    assert len(read(tmp_path).runs) == 3
    (tmp_path / "a/test_other/config.yaml").rename(tmp_path / "a/test_other/.hydra")  # of cpnet.evaluate
    assert read(tmp_path).left_out[tmp_path / "a/test_other"].startswith("config.yaml is missing")
    (tmp_path / "a/results.json").unlink()
    with pytest.raises(DataError, match=r"a: unfinished") as error:
        read(tmp_path)
    assert "test_ood" not in str(error.value)
    with pytest.raises(DataError, match=r"test_ood: unfinished"):
        read(tmp_path / "a/test_ood")


def test_pair_without_prediction_scores_0(tmp_path: Path) -> None:
    true = np.array([[0.0, 10.0], [2.0, 4.0], [1.0, 5.0]])
    predicted = np.array([[0.0, 6.0], [3.0, 5.0], [7.0, 8.0]])
    write_run(tmp_path / "a", true=true, predicted=predicted)  # the third misses
    path = tmp_path / "a/predictions.jsonl"
    *others, third = path.read_text().splitlines()
    path.write_text("\n".join([json.dumps(json.loads(third) | {"predicted": []}), *others]))
    (run,) = read(tmp_path).runs
    assert run.scores["mIoU"].tolist() == pytest.approx([0.6, 1 / 3, 0])


def test_the_hash_depends_on_the_pairs_but_not_on_their_order(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_run(tmp_path / name, true=spans(12, seed))
    lines = (tmp_path / "b/predictions.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "b/predictions.jsonl").write_text("".join(reversed(lines)))
    one, same, other = read(tmp_path).runs
    assert one.scores["mIoU"].tolist() == same.scores["mIoU"].tolist()
    assert one.pairs == same.pairs != other.pairs


def test_folders_are_in_natural_order_without_duplicates(tmp_path: Path) -> None:
    for job in (10, 9, 0):
        write_run(tmp_path / f"sweep/{job}")
    for hidden in ("sweep/0/.hydra", "sweep/0/checkpoints"):
        (tmp_path / hidden).mkdir()
        (tmp_path / hidden / "config.yaml").write_text("a: 1\n")
    found = find([tmp_path / "sweep", tmp_path])
    assert [folder.name for folder in found] == ["0", "9", "10"]


def _drop(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def _write(name: str, text: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / name).write_text(text, encoding="utf-8")

    return write


def _off_by(points: float) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        results = Results.read(folder)
        replace(results, metrics={**results.metrics, "mIoU": results.metrics["mIoU"] + points}).write(folder)

    return change


def _without_metrics(folder: Path) -> None:
    replace(Results.read(folder), metrics={}).write(folder)


def _extra_span(folder: Path) -> None:
    path = folder / "predictions.jsonl"
    first, *others = path.read_text().splitlines()
    row = json.loads(first)
    path.write_text("\n".join([*others, json.dumps(row | {"predicted": row["predicted"] * 2})]))


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (_drop("results.json"), "unfinished: results.json is missing"),
        (_drop("config.yaml"), "config.yaml is missing; reports show only runs of cpnet.train"),
        (_drop("predictions.jsonl"), "predictions.jsonl cannot be read"),
        (_write("results.json", '{"metrics": {'), "results.json cannot be read"),
        (_without_metrics, "its test split has no true windows, so it has predictions but no metrics"),
        (_write("results.json", "{}"), "results.json cannot be read (it has no experiment, model, metrics"),
        (_write("config.yaml", "a: [1"), "config.yaml cannot be read"),
        (_write("config.yaml", "a: 1"), "config.yaml has no metrics"),
        (_write("config.yaml", "metrics: {recall: 1}"), "config.yaml: metrics cannot be computed"),
        (_write("predictions.jsonl", ""), "predictions.jsonl is empty"),
        (_write("predictions.jsonl", '{"qid": 1'), "predictions.jsonl, line 1: "),
        (_write("predictions.jsonl", "".join(rows(spans(12, 0), spans(12, 100))[:11])), "but results.json states"),
        (_extra_span, "predictions.jsonl: q0 has 2 predicted spans, other pairs 1"),
        (_off_by(0.006), "predictions.jsonl yields mIoU ="),
        (_off_by(float("nan")), "predictions.jsonl yields mIoU ="),
    ],
)
def test_an_unusable_run_is_left_out_with_its_reason(
    tmp_path: Path, damage: Callable[[Path], None], reason: str
) -> None:
    write_run(tmp_path / "good")
    damage(write_run(tmp_path / "damaged"))
    gathered = read(tmp_path)
    assert [run.folder.name for run in gathered.runs] == ["good"]
    assert [*gathered.left_out] == [tmp_path / "damaged"]
    assert reason in gathered.left_out[tmp_path / "damaged"]


def test_rounded_metrics_are_accepted(tmp_path: Path) -> None:
    _off_by(0.004)(write_run(tmp_path / "a", git_commit="abc+changes"))
    assert len(read(tmp_path).runs) == 1


def test_malformed_curves_are_skipped(tmp_path: Path) -> None:
    (write_run(tmp_path / "a") / "metrics.csv").write_bytes(b"epoch,train/loss\n0,x\n\xff,1\n1,2.5\n")
    assert read(tmp_path).runs[0].curves == {"train/loss": {1: 2.5}}


def test_only_the_requested_experiment_is_read(tmp_path: Path) -> None:
    for name, experiment in (("a", "levels"), ("b", "scale"), ("c", None), ("d", "levels"), ("e", "scale")):
        write_run(tmp_path / name, cfg=config(experiment_name=experiment))
    for name in "de":
        (tmp_path / name / "results.json").unlink()
    gathered = read(tmp_path, experiment="levels")
    assert [run.folder.name for run in gathered.runs] == ["a"]
    assert [*gathered.left_out] == [tmp_path / "d"]
    assert gathered.baseline == []
    gathered = read(tmp_path, experiment="levels", baseline_from="scale")
    assert [run.folder.name for run in (*gathered.runs, *gathered.baseline)] == ["a", "b"]


@pytest.mark.parametrize(
    ("experiment", "baseline_from", "message"),
    [
        ("level", None, r"found: levels \(2 runs\), no experiment \(1 runs\), scale \(1 runs\)(.|\n)*e: unfinished"),
        ("levels", "level", "no run of experiment=level below"),
    ],
)
def test_an_experiment_without_runs_is_an_error(
    tmp_path: Path, experiment: str, baseline_from: str | None, message: str
) -> None:
    for name, its in (("a", "levels"), ("b", "levels"), ("c", "scale"), ("d", None), ("e", "level")):
        write_run(tmp_path / name, cfg=config(experiment_name=its))
    (tmp_path / "e/results.json").unlink()
    with pytest.raises(DataError, match=message):
        read(tmp_path, experiment=experiment, baseline_from=baseline_from)
    with pytest.raises(DataError, match="no such folder"):
        read(tmp_path / "nowhere")


@pytest.mark.parametrize(("experiment", "missing"), [(None, ["10"]), ("levels", ["10"]), ("scale", [])])
def test_missing_jobs_of_an_interrupted_sweep_are_left_out(
    tmp_path: Path, experiment: str | None, missing: list[str]
) -> None:
    jobs = {"experiment": "levels", "jobs": {"2": "seed=0", "10": "seed=1", "../11": "seed=2"}}
    write_run(tmp_path / "sweep/2", cfg=config(experiment_name="levels"))
    (tmp_path / "sweep/jobs.json").write_text(json.dumps(jobs))
    write_run(tmp_path / "other/0", cfg=config(experiment_name="scale"))
    left_out = read(tmp_path, experiment=experiment).left_out
    reason = "no run yet: seed=1; rerun the sweep with sweep.resume=true"
    assert left_out == {tmp_path / "sweep" / job: reason for job in missing}
    write_run(tmp_path / "sweep/10", cfg=config(experiment_name="levels"))
    assert read(tmp_path / "sweep/2").left_out == {}  # the other job has a run, of which nobody asked
    (tmp_path / "sweep/jobs.json").write_text("[]")
    assert read(tmp_path).left_out == {}


def test_replaced_jobs_of_a_sweep_are_skipped(tmp_path: Path) -> None:
    write_run(tmp_path / "sweep/0")
    write_run(tmp_path / "sweep/earlier/0_then")
    assert len(read(tmp_path).runs) == 2
    (tmp_path / "sweep/multirun.yaml").touch()
    assert [run.folder.name for run in read(tmp_path).runs] == ["0"]
