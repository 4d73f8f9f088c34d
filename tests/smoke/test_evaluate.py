"""``python -m cpnet.evaluate``: a checkpoint alone gives the numbers of its run again."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from commands import call
from cpnet.module import GroundingModule

CHECKPOINT = "checkpoint=run/checkpoints/best.ckpt"
QUIET = ("trainer=cpu", "trainer.enable_progress_bar=false")


def evaluate(place: Path, name: str, *arguments: str) -> Any:
    """Call the command, and give what its folder's results.json holds."""
    ended = call("evaluate", CHECKPOINT, *QUIET, f"hydra.run.dir={name}", *arguments, folder=place)
    assert ended.code == 0, ended.err
    return json.loads((place / name / "results.json").read_text(encoding="utf-8"))


def predictions(place: Path, name: str) -> bytes:
    return (place / name / "predictions.jsonl").read_bytes()


def test_the_numbers_of_the_run_come_again_bit_by_bit(place: Path) -> None:
    trained = json.loads((place / "run/results.json").read_text(encoding="utf-8"))
    measured = evaluate(place, "same")
    for key in ("metrics", "reversed", "trivial", "pairs", "model", "parameters", "seed", "protocol"):
        assert measured[key] == trained[key]
    assert predictions(place, "same") == predictions(place, "run")


def test_signals_are_what_they_were_also_while_lightning_runs(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original, before, within = GroundingModule.test_step, signal.getsignal(signal.SIGTERM), []

    def step(module: GroundingModule, *arguments: Any) -> Any:
        within.append(signal.getsignal(signal.SIGTERM))
        return original(module, *arguments)

    monkeypatch.setattr(GroundingModule, "test_step", step)
    evaluate(place, "watched")
    assert set(within) == {before}


def test_features_may_lie_elsewhere_in_another_layout(place: Path, tmp_path: Path) -> None:
    with h5py.File(place / "data/synthetic/features.hdf5", locking=False) as file:
        for video in file:
            np.save(tmp_path / f"{video}.npy", file[video][()])
    evaluate(place, "elsewhere", f"dataset.features.path={tmp_path}")
    assert predictions(place, "elsewhere") == predictions(place, "run")


def test_no_file_of_word_vectors_is_needed(place: Path) -> None:
    evaluate(place, "no_words", "dataset.word_vectors.path=nowhere.txt")
    assert predictions(place, "no_words") == predictions(place, "run")


def test_another_split_is_measured_on_its_own_pairs(place: Path) -> None:
    assert evaluate(place, "val", "split=val")["pairs"] == 6
    train = evaluate(place, "train", "split=train", "batch_size=5")
    assert (train["pairs"], train["protocol"]["split"]) == (42, "train")


def test_decoding_may_be_changed_and_words_of_other_queries_are_looked_up(place: Path, tmp_path: Path) -> None:
    known = torch.load(place / "run/checkpoints/best.ckpt", weights_only=True)["cpnet"]["vocabulary"]["words"]
    settings = ["dataset.generate.videos=60", f"dataset.generate.folder={tmp_path}/more", "model.order=none"]
    measured = evaluate(place, "more", *settings)
    assert measured["pairs"] == 36
    assert " tokens unknown (0.00%)" in (place / "more/evaluate.log").read_text(encoding="utf-8")
    queries = " ".join(json.loads(row)["query"] for row in predictions(place, "more").decode().splitlines())
    new = {word.strip(".").lower() for word in queries.split()} - set(known)
    assert new, "the larger corpus must have words that the checkpoint lacks"


def test_a_checkpoint_can_be_moved(place: Path, tmp_path: Path) -> None:
    (tmp_path / "moved.ckpt").write_bytes((place / "run/checkpoints/best.ckpt").read_bytes())
    ended = call(
        "evaluate", "checkpoint=moved.ckpt", *QUIET, f"data_dir={place}/data", "hydra.run.dir=out", folder=tmp_path
    )
    assert ended.code == 0, ended.err
    assert predictions(tmp_path, "out") == predictions(place, "run")
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("blind", ["video", "query"])
def test_a_model_can_be_measured_blind(blind: str, place: Path) -> None:
    assert evaluate(place, blind, f"dataset.blind={blind}")["protocol"]["blind"] == blind
    assert predictions(place, blind) != predictions(place, "run")
