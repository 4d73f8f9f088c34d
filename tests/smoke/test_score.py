"""``python -m cpnet.score`` on predictions of a run, of other systems, and on wrong arguments."""

from __future__ import annotations

import csv
import json
import random
import resource
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from commands import Ended, call, read_json, read_jsonl, spawn
from data.readers.test_published_files import DATA, activitynet_captions
from evaluation import reference

PREDICTIONS = "run/predictions.jsonl"
RUN = f"predictions={PREDICTIONS}"
DATASET = ("dataset=synthetic", "dataset.generate.videos=20", "hydra.run.dir=scored", "resamples=200")


def score(place: Path, *arguments: str) -> tuple[Ended, Any]:
    """Run the command; return how it ended, and the content of scores.json."""
    ended = call("score", *DATASET, *arguments, folder=place)
    return ended, read_json(place / "scored/scores.json")


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")


def test_metrics_and_trivial_predictors_are_those_of_the_run(place: Path) -> None:
    ended, found = score(place, RUN)
    results = read_json(place / "run/results.json")
    metrics = {key: each["mean"] for key, each in found["metrics"]["predictions"].items()}
    assert {key: metrics[key] for key in results["metrics"]} == pytest.approx(results["metrics"])
    for name, constant in results["trivial"].items():
        kept = {key: found["trivial"][name][key] for key in constant["metrics"]}
        assert kept == pytest.approx(constant["metrics"])
    assert found["counts"] == {"predictions": dict.fromkeys(("missing", "surplus", "reversed", "outside"), 0)}
    assert "synthetic, test split, 12 pairs; IoU >= m, true windows clipped" in " ".join(ended.out.split())
    assert f"R@1,IoU=0.5 {metrics['R1@0.5']:.2f} ± " in " ".join(ended.out.split())


def test_paired_difference_equals_a_loop(place: Path) -> None:
    rows = read_jsonl(place / PREDICTIONS)
    (place / "other").mkdir(exist_ok=True)
    write(place / "other/predictions.jsonl", [{**row, "predicted": row["true"]} for row in rows[:5]] + rows[5:])
    ended, found = score(place, RUN, "against=other/predictions.jsonl")
    gains = np.array([row["iou"] - (1.0 if place < 5 else row["iou"]) for place, row in enumerate(rows)])
    drawn = np.random.default_rng(0).integers(len(rows), size=(200, len(rows)))
    expected = [gains.mean(), *np.percentile([gains[each].mean() for each in drawn], [2.5, 97.5])]
    difference = found["metrics"]["difference"]["mIoU"]
    assert [difference[key] for key in ("mean", "low", "high")] == pytest.approx([100 * each for each in expected])
    assert f"{difference['mean']:+.2f} ± " in ended.out
    first, second = ("run/predictions.jsonl", "other/predictions.jsonl")
    assert [*found["metrics"]] == [first, second, "difference"]
    losses = int((gains < -1e-9).sum())
    assert f"{first} has the higher IoU in 0 pairs, {second} in {losses}; {len(rows) - losses} are equal" in ended.out


def test_missing_surplus_reversed_and_outside_predictions_are_counted(place: Path) -> None:
    rows = read_jsonl(place / PREDICTIONS)[1:]
    rows[0]["predicted"] = [[6.0, 5.0]]
    rows[1]["predicted"] = [[0.0, rows[1]["duration"] + 1]]
    rows[2] = {"qid": rows[2]["qid"], "answer": "I see nothing."}
    rows.append({"vid": "elsewhere.mp4", "query": "he runs", "pred_relevant_windows": [[0, 1, 0.5]]})
    write(place / "made.jsonl", rows)
    ended, found = score(place, "predictions=made.jsonl", "metrics.strict=true", "round_sec=0.5")
    assert found["counts"] == {"made": {"missing": 2, "surplus": 1, "reversed": 1, "outside": 1}}
    for sentence in (
        f"made: 1 answers have no two times: '{rows[2]['qid']}'",
        "made: 2 pairs have no prediction and score 0: ",
        "made: 1 predictions belong to no pair of the split and are ignored: 'elsewhere: he runs'",
        f"made: 1 first predictions end before they start and score 0: '{rows[0]['qid']}'",
        f"made: 1 first predictions leave the video and are scored as they are: '{rows[1]['qid']}'",
        "IoU > m, true windows clipped, times rounded to 0.5 s",
    ):
        assert sentence in " ".join(ended.out.split())
    scored = [rows[1], *rows[3:-1]]
    rounded = [np.round(np.array(row["predicted"][0]) * 2) / 2 for row in scored]
    total = sum(reference.iou(span, np.array(row["true"][0])) for span, row in zip(rounded, scored, strict=True))
    assert found["metrics"]["made"]["mIoU"]["mean"] == pytest.approx(100 * total / 12)


@pytest.mark.slow
def test_breakdown_is_that_of_the_run(place: Path) -> None:
    ended, found = score(place, RUN, "breakdown=true")
    assert (place / "scored/breakdown.png").read_bytes().startswith(b"\x89PNG")
    written = read_json(place / "run/results.json")["breakdown"]
    for attribute, groups in written.items():
        again = found["breakdown"]["predictions"][attribute]
        assert [*again] == [*groups]
        for name, group in groups.items():
            assert again[name]["pairs"] == group["pairs"]
            assert again[name]["metrics"].items() >= group["metrics"].items()
        pairs, (mean, *_) = again[name]["pairs"], again[name]["metrics"]["mIoU"]
        assert f" {name} {pairs} {mean:.2f} [" in " ".join(ended.out.split())
    assert len(written) == 7


def test_annotators_are_compared(place: Path) -> None:
    rows = read_jsonl(place / PREDICTIONS)[:4]
    lines = [(row["video"], row["query"], *row["true"][0], "a") for row in rows]
    lines += [(rows[0]["video"], rows[0]["query"], 0, rows[0]["true"][0][1], "b"), ("elsewhere", "he runs", 1, 2, "a")]
    with (place / "several.csv").open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([("video", "query", "start", "end", "annotator"), *lines])
    ended, found = score(place, RUN, "references=several.csv")
    assert found["references"]["counts"] == {"pairs": 4, "annotations": 5, "surplus": 1}
    for sentence in (
        "references: 4 of 12 pairs, 1 to 2 annotators, 1.2 on average",
        "references: 3 pairs have one annotator and do not count for another annotator",
        "references: 1 pairs of the file are not in the split and are ignored: 'elsewhere: he runs'",
    ):
        assert sentence in " ".join(ended.out.split())
    metrics = found["references"]["metrics"]
    assert metrics["the corpus's annotation"]["best"]["mIoU"]["mean"] == 100
    (start, end), (first, *_) = rows[0]["true"][0], rows[0]["predicted"]
    assert metrics["another annotator"]["mean"]["mIoU"]["mean"] == pytest.approx(100 * (end - start) / end, abs=0.01)
    of_both = [rows[0]["iou"], reference.iou(np.array(first), np.array([0, end]))]
    others = [row["iou"] for row in rows[1:]]
    for rule, of_first in (("best", max(of_both)), ("mean", np.mean(of_both))):
        mean = metrics["predictions"][rule]["mIoU"]["mean"]
        assert mean == pytest.approx(100 * np.mean([of_first, *others]), abs=0.01)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("predictions=nowhere.jsonl",), "predictions=nowhere.jsonl cannot be read"),
        ((RUN, "split=tested"), "split must be one of train, val, test; got 'tested'"),
        ((RUN, "round_sec=0"), "round_sec must be positive, or null for times as they are; got 0"),
        ((RUN, "resamples=99"), "resamples must be at least 100; got 99"),
        ((RUN, "metrics.thresholds=[50]"), "metrics: an IoU threshold must lie in (0, 1], got 50"),
        ((RUN, "metrics.recall_at=[0]"), "metrics: R@n,IoU=m counts the first n predictions: n must be at least 1"),
        ((RUN, "data_dir=nowhere"), "cannot be read"),
        ((RUN, "references=none.csv"), "no row has the video and the query of a pair of test"),
        ((), "predictions"),
    ],
)
def test_wrong_arguments_give_short_messages(arguments: tuple[str, ...], message: str, place: Path) -> None:
    (place / "none.csv").write_text("video,query,start,end,annotator\nv,he runs,1,2,a\n")
    ended = call("score", *DATASET, *arguments, folder=place, code=1)
    assert message in ended.err
    assert ended.err.count("\n") <= 3


def test_heavy_packages_are_not_imported(place: Path) -> None:
    shutil.copy(place / "run/predictions.jsonl", place / "alone.jsonl")
    code = (
        "import atexit, runpy, sys\n"
        "heavy = ('torch', 'pytorch_lightning', 'h5py', 'scipy', 'pandas', 'matplotlib', 'wandb')\n"
        "atexit.register(lambda: print([each for each in heavy if each in sys.modules]))\n"
        f"sys.argv = ['score', 'predictions=alone.jsonl', 'hydra.run.dir=alone', *{DATASET[:2]}]\n"
        "runpy.run_module('cpnet.score', run_name='__main__', alter_sys=True)\n"
    )
    ended = spawn("-c", code, folder=place)
    assert ended.out.splitlines()[-1] == "[]"


@pytest.mark.slow
def test_predictions_for_activitynet_are_scored_in_seconds(tmp_path: Path) -> None:
    moments, chance = activitynet_captions("val_2"), random.Random(0)
    spans = ([*sorted(chance.uniform(0, each.duration_sec) for _ in "ab"), 1.0] for each in moments)
    rows = [
        {"vid": each.video, "query": each.query, "pred_relevant_windows": [span]}
        for each, span in zip(moments, spans, strict=True)
    ]
    write(tmp_path / "made.jsonl", rows)
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    arguments = ("predictions=made.jsonl", "dataset=activitynet_captions", f"data_dir={DATA}")
    ended = spawn("-m", "cpnet.score", *arguments, folder=tmp_path)
    assert "published: CPNet (AAAI 2021), Table 3" in ended.out
    assert "no prediction" not in ended.out
    seconds = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before
    assert seconds < 4  # 2 on an idle core
