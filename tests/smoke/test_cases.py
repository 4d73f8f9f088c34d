"""What a person gets who runs the commands on an odd corpus: the exit code, the words, and the numbers."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import cases
from commands import Ended, call

TRAIN = (
    *("model=cpnet_small", "trainer=debug", "trainer.enable_progress_bar=false", "trainer.limit_train_batches=1"),
    *("model.hidden_dim=8", "model.encoder.num_heads=1", "sampling.clips=8", "batch_size=8", "hydra.run.dir=run"),
)
EVALUATE = ("checkpoint=run/checkpoints/best.ckpt", "trainer.enable_progress_bar=false")

# Command, overrides ({here} is the folder of the case), exit code, and words that are printed in this order
LINES: dict[str, list[tuple[str, str, int, str]]] = {
    "several_windows": [
        ("train", "", 0, "test split, 6 pairs"),
        ("report", "", 1, "yields R1@0.3 = 100.000"),  # the predictions are replaced before
    ],
    "two_folders": [
        ("prepare", "dataset.features.path=[{here}/train_features,{here}/val_features]", 0, "videos +12.*no problem")
    ],
    "missing_videos": [
        ("prepare", "", 1, "split train.*'video_00000'.*on_missing=drop.*split test.*'video_00011'"),
        ("train", "", 1, "video_00000.*on_missing=drop"),
        ("prepare", "dataset.on_missing=drop", 0, "21 of 24 pairs.*no problem"),
        ("train", "dataset.on_missing=drop", 0, "train: 3 of 24 pairs .*'video_00000'.*3 of 6 .* missed"),
        ("evaluate", "", 0, "test split, 6 pairs.*3 of 6 test pairs .*missed"),
    ],
    "milliseconds": [
        ("prepare", "", 1, "look like milliseconds, not seconds.*time_unit=milliseconds"),
        ("prepare", "dataset.time_unit=milliseconds", 0, "clipped 0 starts and 0 ends.*no problem"),
    ],
    "no_windows": [("train", "", 0, "test: read 6 pairs .*without true windows.*not scored")],
    "odd_ids": [("prepare", "", 0, "8 of 8 videos, 24 of 24 pairs.*no problem")],
}
CASES = [pytest.param(case, marks=[pytest.mark.slow] if case == "two_folders" else []) for case in LINES]


@pytest.mark.parametrize("case", CASES)
def test_odd_corpus_ends_as_its_owner_expects(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cpnet.reporting.features.draw", lambda *_: None)
    (tmp_path / "conf/dataset").mkdir(parents=True)
    (tmp_path / "conf/dataset/mine.yaml").write_text(cases.YAML, encoding="utf-8")
    (tmp_path / "here").mkdir()
    getattr(cases, case)(tmp_path / "here")
    for command, overrides, code, words in LINES[case]:
        ended = run(command, overrides.format(here="here").split(), tmp_path)
        printed = ended.out + ended.err
        assert (ended.code, "Traceback" in printed) == (code, False), f"{command} {overrides}\n{printed}"
        assert re.search(words, re.sub(r"\s+", " ", printed)), f"{command} {overrides} without {words}\n{printed}"
    if case == "missing_videos":
        results = json.loads((tmp_path / "run/results.json").read_text())
        assert results["protocol"]["missing"] == {"train": 3, "test": 3}
    if case == "no_windows":
        submitted = [json.loads(line) for line in (tmp_path / "run/submission.jsonl").read_text().splitlines()]
        assert [(each["qid"], each["vid"]) for each in submitted] == [(e["qid"], e["vid"]) for e in cases.rows()[30:]]
        assert all(len(window) == 3 for each in submitted for window in each["pred_relevant_windows"])


def run(command: str, overrides: list[str], folder: Path) -> Ended:
    if command == "report":
        answer_with_last_window(folder / "run/predictions.jsonl", folder / "here/test.jsonl")
        return call("report", "runs=run", folder=folder, code=None)
    if command == "evaluate":
        return call("evaluate", *EVALUATE, *overrides, folder=folder, code=None)
    given = ("--config-dir", "conf", "dataset=mine", "data_dir=here", *(TRAIN if command == "train" else ()))
    return call(command, *given, *overrides, folder=folder, code=None)


def answer_with_last_window(predictions: Path, annotations: Path) -> None:
    """Replace a run's predictions with the last true window of each query."""
    windows = {row["qid"]: row["relevant_windows"] for row in map(json.loads, annotations.read_text().splitlines())}
    found = [json.loads(line) for line in predictions.read_text().splitlines()]
    cases.save_rows(predictions, [row | {"predicted": windows[row["qid"].split(":")[0]][-1:]} for row in found])
