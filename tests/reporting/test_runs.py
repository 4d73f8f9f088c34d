"""Oracle: folders spoilt by hand, and the metrics of ``tests/metrics/reference.py``, from which they are made."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cpnet.data.moment import DataError
from cpnet.reporting.runs import find
from reporting.made import config, read, rows, spans, write_run


def test_a_run_is_read_with_its_scores(tmp_path: Path) -> None:
    true = np.array([[0.0, 10.0], [2.0, 4.0]])
    write_run(
        tmp_path / "a", true=true, predicted=np.array([[0.0, 6.0], [3.0, 5.0]]), curves=[(3.0, 10.0), (2.0, 20.0)]
    )
    (run,) = read(tmp_path).runs
    assert run.iou.tolist() == pytest.approx([0.6, 1 / 3])
    assert run.scores["R1@0.5"].tolist() == [1.0, 0.0]
    assert run.scores["dR1@0.5"].tolist() == pytest.approx([0.6, 0.0])
    np.testing.assert_allclose(run.true, true / 10)
    assert run.curves == {"train/loss": {0: 3.0, 1: 2.0}, "val/mIoU": {0: 10.0, 1: 20.0}}


def test_pairs_are_in_order_of_their_names_whatever_the_order_of_the_file(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_run(tmp_path / name)
    lines = (tmp_path / "b/predictions.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "b/predictions.jsonl").write_text("".join(reversed(lines)))
    one, other = read(tmp_path).runs
    assert one.pairs == other.pairs
    assert one.iou.tolist() == other.iou.tolist()


def test_other_true_spans_are_other_pairs(tmp_path: Path) -> None:
    write_run(tmp_path / "a", true=spans(12, 1))
    write_run(tmp_path / "b", true=spans(12, 2))
    one, other = read(tmp_path).runs
    assert one.pairs != other.pairs


def test_folders_come_in_natural_order_and_once(tmp_path: Path) -> None:
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


def _change(key: str, value: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        content = json.loads((folder / "results.json").read_text())
        (folder / "results.json").write_text(json.dumps(content | {key: value}))

    return change


def _off_by(points: float) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        content = json.loads((folder / "results.json").read_text())
        content["metrics"]["mIoU"] += points
        (folder / "results.json").write_text(json.dumps(content))

    return change


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (_drop("results.json"), "unfinished: there is a config.yaml but no results.json"),
        (_drop("config.yaml"), "no config.yaml, which cpnet.train writes"),
        (_drop("predictions.jsonl"), "predictions.jsonl is not there"),
        (_write("results.json", '{"metrics": {'), "results.json is damaged"),
        (_write("results.json", "[]"), "results.json is damaged: it is not an object"),
        (_write("results.json", "{}"), "it has no model, metrics"),
        (_write("config.yaml", "a: [1"), "config.yaml is damaged"),
        (_write("config.yaml", "a: 1"), "config.yaml is damaged: it has no metrics"),
        (_write("predictions.jsonl", ""), "predictions.jsonl is empty"),
        (_write("predictions.jsonl", '{"qid": 1'), "predictions.jsonl is damaged"),
        (_write("predictions.jsonl", '{"qid": 1}'), "predictions.jsonl is damaged: KeyError('predicted')"),
        (_write("predictions.jsonl", "[1]"), "predictions.jsonl is damaged"),
        (_write("predictions.jsonl", "".join(rows(spans(3, 0), spans(3, 1)))), "but results.json has"),
        (_off_by(0.006), "predictions.jsonl gives mIoU ="),
        (_off_by(float("nan")), "predictions.jsonl gives mIoU ="),
        (_change("metrics", {}), "but results.json has None"),
        (_change("pairs", 11), "has 12 pairs, but results.json counts 11"),
    ],
)
def test_a_run_that_cannot_be_used_is_left_out_and_why(
    tmp_path: Path, spoil: Callable[[Path], None], reason: str
) -> None:
    write_run(tmp_path / "good")
    spoil(write_run(tmp_path / "spoilt"))
    gathered = read(tmp_path)
    assert [run.folder.name for run in gathered.runs] == ["good"]
    (left,) = gathered.left_out
    assert left.folder == tmp_path / "spoilt"
    assert reason in left.reason


def test_rounding_does_not_leave_a_run_out(tmp_path: Path) -> None:
    _off_by(0.004)(write_run(tmp_path / "a", git_commit="abc+changes"))
    assert len(read(tmp_path).runs) == 1


def test_broken_curves_do_not_leave_a_run_out(tmp_path: Path) -> None:
    (write_run(tmp_path / "a") / "metrics.csv").write_bytes(b"epoch,train/loss\n0,x\n\xff,1\n1,2.5\n")
    assert read(tmp_path).runs[0].curves == {"train/loss": {1: 2.5}}


def test_one_experiment_is_taken_with_its_unfinished_runs_alone(tmp_path: Path) -> None:
    for name, experiment in (("a", "levels"), ("b", "scale"), ("c", None), ("d", "levels"), ("e", "scale")):
        write_run(tmp_path / name, cfg=config(experiment_name=experiment))
    for name in "de":
        (tmp_path / name / "results.json").unlink()
    gathered = read(tmp_path, experiment="levels")
    assert [run.folder.name for run in gathered.runs] == ["a"]
    assert [each.folder.name for each in gathered.left_out] == ["d"]


def test_an_unknown_experiment_lists_those_that_there_are(tmp_path: Path) -> None:
    for name, experiment in (("a", "levels"), ("b", "levels"), ("c", "scale"), ("d", None)):
        write_run(tmp_path / name, cfg=config(experiment_name=experiment))
    with pytest.raises(DataError, match=r"levels \(2 runs\), scale \(1 runs\); 1 runs of no experiment"):
        read(tmp_path, experiment="level")


def test_no_run_is_said_with_what_was_found(tmp_path: Path) -> None:
    (write_run(tmp_path / "a") / "results.json").unlink()
    with pytest.raises(DataError, match=r"no usable run below (.|\n)*a: unfinished"):
        read(tmp_path)
    with pytest.raises(DataError, match="there is no such folder"):
        read(tmp_path / "nowhere")


@pytest.mark.parametrize(("experiment", "missing"), [(None, ["10"]), ("levels", ["10"]), ("scale", [])])
def test_a_sweep_that_was_broken_off_misses_its_jobs(
    tmp_path: Path, experiment: str | None, missing: list[str]
) -> None:
    jobs = {"experiment": "levels", "jobs": {"2": "seed=0", "10": "seed=1", "../11": "seed=2"}}
    write_run(tmp_path / "sweep/2", cfg=config(experiment_name="levels"))
    (tmp_path / "sweep/jobs.json").write_text(json.dumps(jobs))
    write_run(tmp_path / "other/0", cfg=config(experiment_name="scale"))
    left_out = read(tmp_path, experiment=experiment).left_out
    assert [each.folder.name for each in left_out] == missing
    assert all(each.reason.startswith("no run yet: seed=1; ") for each in left_out)


def test_a_list_of_jobs_that_is_none_changes_nothing(tmp_path: Path) -> None:
    write_run(tmp_path / "sweep/0")
    (tmp_path / "sweep/jobs.json").write_text("[]")
    assert read(tmp_path).left_out == ()


def test_jobs_that_a_sweep_has_put_aside_are_no_runs(tmp_path: Path) -> None:
    write_run(tmp_path / "sweep/0")
    write_run(tmp_path / "sweep/earlier/0_then")
    assert len(read(tmp_path).runs) == 2
    (tmp_path / "sweep/multirun.yaml").touch()
    assert [run.folder.name for run in read(tmp_path).runs] == ["0"]
