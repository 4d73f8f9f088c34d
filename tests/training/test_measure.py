"""Oracle: values worked out by hand, and a slow search over the grid of constant spans."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import DictConfig, OmegaConf

import cpnet
from corpora import ROWS, TEST, TRAIN, VAL, Table, ready, trainer, write_corpus, write_features
from cpnet.data.moment import Moment
from cpnet.data.times import times
from cpnet.evaluation.protocol import Protocol, Selection
from cpnet.evaluation.trivial import best_constants, trivial_rows
from cpnet.options import MetricsOptions
from cpnet.runs.predictions import read_predictions
from cpnet.runs.results import Results, Validation
from cpnet.training.callbacks.cost import CostMeter
from cpnet.training.callbacks.predictions import PredictionWriter
from cpnet.training.measure import measure, protocol
from cpnet.training.module import GroundingModule
from evaluation import reference

METRICS = MetricsOptions(thresholds=[0.5])


def config(**dataset: Any) -> DictConfig:
    return OmegaConf.create(
        {
            "model_name": "cpnet",
            "experiment_name": "table1",
            "seed": 7,
            "trainer": {"precision": "bf16-mixed"},
            "metrics": OmegaConf.structured(METRICS),
            "sampling": {"_target_": "cpnet.data.sampling.Pick", "clips": 128},
            "dataset": {
                "name": "tiny",
                "validation": "holdout",
                "holdout_fraction": 0.1,
                "ground_truth": "raw",
                "on_defect": "error",
                "blind": "none",
                "features": {"path": "/data/pack.hdf5"},
                "paper": {"cpnet": {"R1@0.5": 60.27, "mIoU": 52.0}},
            }
            | dataset,
        }
    )


def arrays(moments: list[Moment], span: tuple[float, float]) -> tuple[Any, Any, Any]:
    duration = np.array([each.duration_sec for each in moments])
    ranked = np.array([[[span[0] * seconds, span[1] * seconds]] for seconds in duration])
    return ranked, np.array([each.windows_sec[0] for each in moments]), duration


def test_trivial_rows_are_fitted_on_train_and_measured_on_test() -> None:
    rows = trivial_rows(times(TRAIN), times(TEST), metrics=METRICS)
    recall, iou = best_constants(*times(TRAIN), thresholds=[0.5, None])  # test_trivial.py has its loop
    spans = {"whole video": (0.0, 1.0), "best constant, R@1,IoU=0.5": recall, "best constant, mIoU": iou}
    assert {name: row.span for name, row in rows.items()} == spans
    for name, span in spans.items():
        ranked, target, duration = arrays(TEST, span)
        assert rows[name].metrics == pytest.approx(
            {
                "R1@0.5": reference.recall(ranked, target, n=1, threshold=0.5),
                "dR1@0.5": reference.discounted_recall(ranked, target, duration, n=1, threshold=0.5),
                "mIoU": reference.mean_iou(ranked, target),
            }
        )


def test_trivial_predictors_have_one_prediction() -> None:
    rows = trivial_rows(
        times(TRAIN), times(TEST), metrics=MetricsOptions(recall_at=[5, 1], thresholds=[0.5], discounted=False)
    )
    assert {key for row in rows.values() for key in row.metrics} == {"R1@0.5", "mIoU"}


def test_split_without_true_windows_has_no_metrics(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    unknown = [replace(each, windows_sec=()) for each in TEST]
    datamodule = ready(write_corpus(tmp_path, {"train": TRAIN, "val": VAL, "test": unknown}))
    writer = PredictionWriter(tmp_path / "predictions.jsonl")
    module = GroundingModule(model=Table(torch.rand(len(TEST), 2)), metrics=METRICS)
    (results,) = measure(config(), trainer(callbacks=[writer, CostMeter()]), module, datamodule, writer)
    assert (results.metrics, results.trivial, results.paper, results.pairs) == ({}, {}, {}, len(TEST))
    assert Results.read(tmp_path) == results
    assert "tiny, test split, 7 pairs: no true windows" in capsys.readouterr().out


@pytest.mark.parametrize(("split", "name"), [("test", "cpnet"), ("test", "my_model"), ("val", "cpnet")])
def test_results_hold_everything_a_number_depends_on(
    split: str, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    datamodule = ready(write_corpus(tmp_path) | {"tested": split})
    writer = PredictionWriter(tmp_path / "predictions.jsonl")
    meter = CostMeter()
    meter.load_state_dict({"fit": 1.504})
    run = trainer(callbacks=[writer, meter])
    cfg, validation = config(), Validation(monitor="val/mIoU", score=41.5, epoch=3)
    cfg.model_name = name
    module = GroundingModule(model=Table(torch.rand(len(TEST), 2)), metrics=METRICS)
    (results,) = measure(cfg, run, module, datamodule, writer, validation=validation)
    assert Results.read(tmp_path) == results
    assert f"outputs: {tmp_path}" in capsys.readouterr().out
    assert {f"test/{key}": value for key, value in results.metrics.items()} | {"test/reversed": results.reversed} == {
        key: float(value) for key, value in run.callback_metrics.items()
    }
    assert (results.model, results.experiment, results.seed, results.pairs) == (name, "table1", 7, len(writer.moments))
    assert (results.precision, results.compiled, results.parameters) == ("bf16-mixed", False, 2 * len(TEST))
    assert results.paper == ({"R1@0.5": 60.27, "mIoU": 52.0} if split == "test" else {})
    assert results.paper_model == "cpnet"
    moments = {each: datamodule.dataset(each).moments for each in ("train", split)}
    assert results.trivial == trivial_rows(times(moments["train"]), times(moments[split]), metrics=METRICS)
    assert (results.validation, results.seconds["fit"], set(results.seconds)) == (validation, 1.5, {"fit", "test"})
    assert results.versions["torch"] == torch.__version__
    assert results.versions["cpnet-grounding"] == cpnet.__version__
    assert results.device
    assert results.forward == meter.forward
    for groups in results.breakdown.values():
        for key in ("mIoU", "R1@0.5"):
            total = sum(group.pairs * group.metrics[key][0] for group in groups.values()) / results.pairs
            assert total == pytest.approx(results.metrics[key], abs=0.01)


def test_test_pairs_without_features_score_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = write_corpus(tmp_path) | {"on_missing": "drop"}
    write_features(tmp_path / "features.hdf5", [name for name in ROWS if name not in ("t03", "e01")])
    datamodule = ready(arguments)
    moments, missed = datamodule.dataset("test").moments, datamodule.missed()
    table = torch.rand(len(moments), 2, generator=torch.Generator().manual_seed(0)).sort(dim=1).values
    writer = PredictionWriter(tmp_path / "predictions.jsonl")
    module = GroundingModule(model=Table(table), metrics=METRICS)
    (results,) = measure(config(), trainer(callbacks=[writer, CostMeter()]), module, datamodule, writer)
    _, target, duration = arrays([*moments], (0.0, 1.0))
    ranked = table.double().numpy()[:, None] * duration[:, None, None]
    assert results.metrics["mIoU"] == pytest.approx(5 / 7 * reference.mean_iou(ranked, target))
    assert results.metrics["R1@0.5"] == pytest.approx(5 / 7 * reference.recall(ranked, target, n=1, threshold=0.5))
    assert (results.pairs, results.protocol.missing) == (7, {"train": 2, "test": 2})
    assert results.trivial == trivial_rows(
        times(datamodule.dataset("train").moments), times([*moments, *missed]), metrics=METRICS
    )
    last = [(row.qid, row.predicted, row.iou) for row in read_predictions(writer.path)][5:]
    assert last == [("test-2", (), 0.0), ("test-3", (), 0.0)]
    printed = capsys.readouterr().out
    assert "2 of 7 test pairs have no features and count as missed\n2 train pairs have no features and are" in printed


def test_every_test_split_has_a_folder_and_all_are_in_one_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    splits = {"train": TRAIN, "val": VAL, "test_iid": TEST[:4], "test_ood": [*TEST[4:], TEST[2]]}
    arguments = write_corpus(tmp_path, splits) | {"on_missing": "drop"}
    write_features(tmp_path / "features.hdf5", [name for name in ROWS if name != "e02"])
    table = torch.rand(len(TEST), 2, generator=torch.Generator().manual_seed(0)).sort(dim=1).values
    module, prepared = GroundingModule(model=Table(table), metrics=METRICS), list[str]()
    datamodule, writer = ready(arguments), PredictionWriter(tmp_path / "run/predictions.jsonl")
    run = trainer(callbacks=[writer, CostMeter()])
    found = measure(config(), run, module, datamodule, writer, prepare=prepared.append)
    assert prepared == ["test_ood", "test_iid"]  # results.json of the first marks a finished run
    assert [Results.read(tmp_path / place) for place in ("run", "run/test_ood")] == found
    for results, place, moments in zip(found, ("run", "run/test_ood"), (TEST[:4], TEST[2:3]), strict=True):
        _, target, duration = arrays(moments, (0.0, 1.0))
        ranked = table[: len(moments)].double().numpy()[:, None] * duration[:, None, None]
        mean = reference.mean_iou(ranked, target) * len(moments) / 4
        assert results.metrics["mIoU"] == pytest.approx(mean)
        assert (results.pairs, dict(results.paper)) == (4, {})
        assert len([*read_predictions(tmp_path / place / "predictions.jsonl")]) == 4
    assert found[1].protocol.missing == {"test_ood": 3}
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines if " pairs" in line][:2] == ["test_iid, 4 pairs", "test_ood, 4 pairs"]
    assert "3 of 4 test_ood pairs have no features and count as missed" in lines
    assert "dR@1" in " ".join(lines)


@pytest.mark.parametrize("selection", list(Selection))
def test_protocol_names_the_split_of_selection(selection: Selection) -> None:
    assert protocol(config(validation=selection.value), "test", missing={"train": 2}) == Protocol(
        dataset="tiny",
        split="test",
        selection=selection,
        holdout_fraction=0.1,
        strict=False,
        ground_truth="raw",
        on_defect="error",
        missing={"train": 2},
        blind="none",
        features="/data/pack.hdf5",
        sampling={"_target_": "cpnet.data.sampling.Pick", "clips": 128},
    )
