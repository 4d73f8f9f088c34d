"""Write runs as ``cpnet.train`` does, with metrics of the reference in ``tests/evaluation``."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from omegaconf import OmegaConf

from cpnet.reporting.comparison import compare
from cpnet.reporting.gather import Gathered, gather
from cpnet.reporting.tables import Report
from cpnet.runs.results import Results
from cpnet.runs.typed_json import parse
from evaluation import reference

COMMIT = "0123456789abcdef0123456789abcdef01234567"
PAPER = {"R1@0.5": 60.27, "mIoU": 52.0}
TRIVIAL = {
    "whole video": {"span": [0.0, 1.0], "metrics": {"R1@0.5": 1.0, "dR1@0.5": 0.5, "mIoU": 20.0}},
    "best constant, mIoU": {"span": [0.0, 0.5], "metrics": {"R1@0.5": 2.5, "dR1@0.5": 1.0, "mIoU": 22.0}},
}


def spans(pairs: int, seed: int) -> NDArray[np.float64]:
    """Return spans within ten seconds. Shape: (pairs, 2)"""
    return np.sort(np.random.default_rng(seed).uniform(0, 10, (pairs, 2)), axis=1)


def config(*, model: str = "cpnet", seed: int = 0, **changes: Any) -> dict[str, Any]:
    """Return a run's configuration; changes name dotted keys with ``__`` for the dots."""
    made: dict[str, Any] = {
        "model_name": model,
        "seed": seed,
        "epochs": 3,
        "batch_size": 32,
        "experiment_name": None,
        "output_dir": "/home/me/outputs",
        "data_dir": "/home/me/data",
        "model": {"_target_": "cpnet.models.CPNet", "pyramid_levels": 3, "max_length": 32, "cam": {"scale": False}},
        "sampling": {"_target_": "cpnet.data.sampling.Pick", "clips": 32},
        "dataset": {"name": "tiny", "blind": "none", "features": {"path": "/home/me/pack.hdf5", "dim": 4}},
        "trainer": {"precision": "32-true", "gradient_clip_val": 0.5},
        "metrics": {"recall_at": [1], "thresholds": [0.5], "strict": False, "discounted": True},
    }
    for key, value in changes.items():
        *parents, last = key.split("__")
        node = made
        for parent in parents:
            node = node[parent]
        node[last] = value
    return made


def write_run(
    folder: Path,
    *,
    predicted: NDArray[np.float64] | None = None,
    true: NDArray[np.float64] | None = None,
    cfg: Mapping[str, Any] | None = None,
    protocol: Mapping[str, Any] | None = None,
    curves: Sequence[tuple[float, float]] = (),
    written: float | None = None,
    **changes: Any,
) -> Path:
    """Write a run's folder, by default of 12 pairs in videos of ten seconds."""
    true = spans(12, 100) if true is None else true
    cfg = dict(cfg or config())
    predicted = spans(len(true), cfg["seed"]) if predicted is None else predicted
    folder.mkdir(parents=True)
    OmegaConf.save(OmegaConf.create(cfg), folder / "config.yaml")
    (folder / "predictions.jsonl").write_text("".join(rows(predicted, true)), encoding="utf-8")
    metrics = measured(predicted, true, cfg["metrics"])
    results(cfg, metrics=metrics, pairs=len(true), protocol=protocol, **changes).write(folder)
    lines = [f"{epoch},{epoch},{loss},\n{epoch},{epoch},,{miou}\n" for epoch, (loss, miou) in enumerate(curves)]
    (folder / "metrics.csv").write_text("epoch,step,train/loss,val/mIoU\n" + "".join(lines), encoding="utf-8")
    if written is not None:
        os.utime(folder / "results.json", (written, written))
    return folder


def results(cfg: Mapping[str, Any], *, protocol: Mapping[str, Any] | None = None, **changes: Any) -> Results:
    """Return the results of a run of a configuration."""
    content: dict[str, Any] = {
        "experiment": cfg["experiment_name"],
        "model": cfg["model_name"],
        "metrics": {"mIoU": 30.0},
        "reversed": 0.0,
        "pairs": 12,
        "validation": {"monitor": "val/mIoU", "score": 30.0, "epoch": 1},
        "trivial": TRIVIAL,
        "paper": PAPER,
        "paper_model": "cpnet",
        "protocol": {
            "dataset": cfg["dataset"]["name"],
            "split": "test",
            "selection": "holdout",
            "holdout_fraction": 0.1,
            "strict": cfg["metrics"]["strict"],
            "ground_truth": "clipped",
            "on_defect": "error",
            "missing": {},
            "blind": cfg["dataset"]["blind"],
            "features": cfg["dataset"]["features"]["path"],
            "sampling": cfg["sampling"],
            **(protocol or {}),
        },
        "parameters": 1234,
        "init_from": None,
        "seed": cfg["seed"],
        "precision": cfg["trainer"]["precision"],
        "compiled": False,
        "seconds": {"fit": 1.0},
        "versions": {"torch": "2.13.0"},
        "device": "cpu",
        "git_commit": COMMIT,
    }
    return parse(Results, content | changes)


def rows(predicted: NDArray[np.float64], true: NDArray[np.float64]) -> list[str]:
    """Return the lines of predictions.jsonl."""
    lines = []
    for pair, (guess, truth) in enumerate(zip(predicted.tolist(), true.tolist(), strict=True)):
        about = {"qid": f"q{pair}", "video": f"v{pair}", "query": "a person opens the door", "duration": 10.0}
        lines.append(
            json.dumps(about | {"predicted": [guess], "true": np.reshape(truth, (-1, 2)).tolist(), "iou": 0.0}) + "\n"
        )
    return lines


def measured(predicted: NDArray[np.float64], true: NDArray[np.float64], metrics: Mapping[str, Any]) -> dict[str, float]:
    ranked, duration = predicted[:, None], np.full(len(true), 10.0)
    found = {}
    for threshold in metrics["thresholds"]:
        found[f"R1@{threshold:g}"] = reference.recall(ranked, true, n=1, threshold=threshold, strict=metrics["strict"])
        found[f"dR1@{threshold:g}"] = reference.discounted_recall(
            ranked, true, duration, n=1, threshold=threshold, strict=metrics["strict"]
        )
    return found | {"mIoU": reference.mean_iou(ranked, true)}


def read(*roots: Path, experiment: str | None = None, baseline_from: str | None = None) -> Gathered:
    return gather(roots, experiment=experiment, baseline_from=baseline_from)


def compared(folder: Path, *, experiment: str | None = None, baseline: str | None = None) -> Report:
    return compare(read(folder), experiment=experiment, baseline=baseline, resamples=200)
