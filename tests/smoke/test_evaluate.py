"""``python -m cpnet.evaluate`` reproduces the results of a run from its checkpoint."""

from __future__ import annotations

import json
import signal
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from commands import call, read_json
from cpnet.data.features import open_features
from cpnet.data.features.pack import pack
from cpnet.grounder import Grounder
from cpnet.runs.predictions import read_predictions
from cpnet.training.module import GroundingModule
from cpnet.video.backbones import BACKBONES, JointBackbone

CHECKPOINT = "checkpoint=run/checkpoints/best.ckpt"
QUIET = ("trainer=cpu", "trainer.enable_progress_bar=false")


def evaluate(place: Path, name: str, *arguments: str) -> Any:
    """Run the command and return the content of results.json."""
    call("evaluate", CHECKPOINT, *QUIET, f"hydra.run.dir={name}", *arguments, folder=place)
    return read_json(place / name / "results.json")


def predictions(place: Path, name: str) -> bytes:
    return (place / name / "predictions.jsonl").read_bytes()


def test_run_is_reproduced_bit_by_bit_with_signal_handlers_unchanged(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, before, within = GroundingModule.test_step, signal.getsignal(signal.SIGTERM), []

    def step(module: GroundingModule, *arguments: Any) -> Any:
        within.append(signal.getsignal(signal.SIGTERM))
        return original(module, *arguments)

    monkeypatch.setattr(GroundingModule, "test_step", step)
    trained, measured = read_json(place / "run/results.json"), evaluate(place, "same")
    assert set(within) == {before}
    for key in ("metrics", "reversed", "trivial", "pairs", "model", "parameters", "seed", "protocol"):
        assert measured[key] == trained[key]
    assert predictions(place, "same") == predictions(place, "run")


def test_checkpoint_and_features_may_be_elsewhere_and_word_vectors_missing(place: Path, tmp_path: Path) -> None:
    (tmp_path / "moved.ckpt").write_bytes((place / "run/checkpoints/best.ckpt").read_bytes())
    (tmp_path / "rows").mkdir()
    with h5py.File(place / "data/synthetic/features.hdf5", locking=False) as file:
        for video in file:
            np.save(tmp_path / f"rows/{video}.npy", file[video][()])
    given = (f"data_dir={place}/data", "dataset.features.path=rows", "dataset.word_vectors.path=nowhere.txt")
    call("evaluate", "checkpoint=moved.ckpt", *QUIET, *given, "hydra.run.dir=out", folder=tmp_path)
    assert predictions(tmp_path, "out") == predictions(place, "run")
    assert not (tmp_path / "data").exists()


MINE = """
defaults: [base_dataset, _self_]
name: mine
reader: {_target_: cpnet.data.readers.read_charades_sta}
splits:
  train: {annotations: FOLDER/charades_sta_train.txt, durations: FOLDER/Charades_v1_train.csv}
  test: {annotations: FOLDER/charades_sta_test.txt, durations: FOLDER/Charades_v1_test.csv}
features: {path: FOLDER/features.hdf5, dim: 64}
word_vectors: {path: FOLDER/glove.txt, dim: 50}
max_words: 2
paper: {cpnet: {mIoU: 50.0}}
"""


def test_checkpoint_is_measured_on_another_corpus(place: Path, tmp_path: Path) -> None:
    """The other corpus has the files of the first, so that the predictions must be the same."""
    (tmp_path / "dataset").mkdir()
    yaml = MINE.replace("FOLDER", str(place / "data/synthetic"))
    (tmp_path / "dataset/mine.yaml").write_text(yaml)
    (tmp_path / "dataset/wide.yaml").write_text(yaml.replace("dim: 64", "dim: 65"))
    measured = evaluate(place, "mine", "--config-dir", str(tmp_path), "dataset=mine")
    assert predictions(place, "mine") == predictions(place, "run")
    assert (measured["protocol"]["dataset"], measured["protocol"]["selection"]) == ("mine", "other")
    assert measured["paper"] == {}
    log = (place / "mine/evaluate.log").read_text(encoding="utf-8")
    assert "trained on synthetic and is measured on mine" in log
    assert ", 0 cut," in log  # max_words of the checkpoint
    ended = call("evaluate", CHECKPOINT, *QUIET, "dataset=wide", f"--config-dir={tmp_path}", folder=place, code=1)
    assert "dataset.features.dim=65, but the model was trained on synthetic with features 64 wide" in ended.err


def test_other_splits_can_be_measured(place: Path) -> None:
    assert evaluate(place, "val", "split=val")["pairs"] == 6
    train = evaluate(place, "train", "split=train", "batch_size=5")
    assert (train["pairs"], train["protocol"]["split"]) == (42, "train")


def test_decoding_may_change_and_new_words_are_looked_up(place: Path, tmp_path: Path) -> None:
    known = torch.load(place / "run/checkpoints/best.ckpt", weights_only=True)["cpnet"]["vocabulary"]["words"]
    settings = ["dataset.generate.videos=60", f"dataset.generate.folder={tmp_path}/more", "model.order=none"]
    measured = evaluate(place, "more", *settings)
    assert measured["pairs"] == 36
    assert " 0 of " in (place / "more/evaluate.log").read_text(encoding="utf-8")
    queries = " ".join(json.loads(row)["query"] for row in predictions(place, "more").decode().splitlines())
    new = {word.strip(".").lower() for word in queries.split()} - set(known)
    assert new, "the larger corpus needs words that the checkpoint lacks"


@pytest.mark.parametrize(
    ("blind", "probe"), [("video", "video_zeroed"), pytest.param("query", "words_zeroed", marks=pytest.mark.slow)]
)
def test_probe_measures_the_model_as_if_blind(blind: str, probe: str, place: Path) -> None:
    measured = evaluate(place, blind, f"dataset.blind={blind}", f"probe=[{probe}]")
    hidden = read_json(place / blind / "probes.json")
    assert measured["protocol"]["blind"] == blind
    assert predictions(place, blind) != predictions(place, "run")
    assert {*hidden["drops"][probe]["mIoU"].values()} == {0}
    seeing = evaluate(place, "seeing", f"probe={probe}")
    assert predictions(place, "seeing") == predictions(place, "run")
    found = read_json(place / "seeing/probes.json")["metrics"]
    for name, expected in (("intact", seeing), (probe, measured)):
        assert {key: mean["mean"] for key, mean in found[name].items()} == pytest.approx(expected["metrics"])


@pytest.mark.slow
def test_probes_are_the_same_in_two_processes(place: Path) -> None:
    line = ("probe=[video_shuffled,words_shuffled,video_other,query_other_video,query_same_video]", "batch_size=3")
    for devices in (1, 2):
        evaluate(place, f"probes{devices}", *line, f"trainer.devices={devices}")
    assert (place / "probes1/probes.json").read_bytes() == (place / "probes2/probes.json").read_bytes()


def test_unknown_probe_is_an_error(place: Path) -> None:
    ended = call("evaluate", CHECKPOINT, *QUIET, "probe=[video_zeroed,blindfold]", folder=place, code=1)
    assert "probe must be all, or list some of video_zeroed, " in ended.err
    assert "; got 'blindfold'" in ended.err


def test_grounder_reproduces_predictions(place: Path) -> None:
    """Features are read from the pack directly; the batch of the test differs, hence the tolerance."""
    grounder = Grounder.from_checkpoint(place / "run/checkpoints/best.ckpt")
    assert 20 <= (grounder.longest_sec or 0) <= 40  # of the videos in training
    evaluate(place, "float32", "trainer.precision=32-true")
    rows = list(read_predictions(place / "float32/predictions.jsonl"))
    by_video = {row.video: [each for each in rows if each.video == row.video] for row in rows}
    assert max(map(len, by_video.values())) > 1
    with h5py.File(place / "data/synthetic/features.hdf5", locking=False) as file:
        for video, asked in by_video.items():
            features, duration = file[video][()], asked[0].duration
            together = grounder.spans(features, duration, [row.query for row in asked])
            alone = [grounder.spans(features, duration, [row.query])[0] for row in asked]
            for row, first, second in zip(asked, together, alone, strict=True):
                torch.testing.assert_close(first, torch.tensor(row.predicted, dtype=torch.float64), rtol=0, atol=1e-3)
                torch.testing.assert_close(second, first, rtol=0, atol=1e-3)


class Letters(JointBackbone):
    """Encodes a sentence as the counts of its letters."""

    name, width, window, stride, size, preprocessing = "letters", 64, 1, 1, None, "none"
    fps, fingerprint = 2.0, "0"

    def encode(self, windows: NDArray[np.uint8]) -> NDArray[np.float32]:
        raise AssertionError

    def encode_text(self, sentences: Sequence[str]) -> NDArray[np.float32]:
        return np.array([[each.count(chr(64 + place)) for place in range(64)] for each in sentences], np.float32)


@pytest.mark.slow
def test_zero_shot_gets_a_row_of_results_and_other_models_refuse_its_rows(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The predictions are those of ``Grounder.zero_shot``."""
    monkeypatch.setitem(BACKBONES, "letters", lambda **_: Letters())
    source = open_features(path=place / "data/synthetic/features.hdf5")
    source.extractor = replace(Letters().extractor(), fps=1.0)  # not the backbone's own rate
    pack(source, place / "letters", videos=source.ids(), dtype="float32")
    corpus = ("dataset=synthetic", "dataset.generate.videos=20", "dataset.features.path=letters")
    line = (*corpus, *QUIET, "hydra.run.dir=zero", "probe=[words_zeroed,words_shuffled,query_other_video]")
    call("evaluate", "zero_shot=letters", *line, folder=place)
    measured = read_json(place / "zero/results.json")
    assert (measured["model"], measured["protocol"]["selection"]) == ("zero_shot_letters", "other")
    assert 0 < measured["metrics"]["R5@0.3"] <= 100
    probed = read_json(place / "zero/probes.json")["drops"]
    drops = {name: abs(each["mIoU"]["mean"]) for name, each in probed.items()}
    assert drops["words_shuffled"] < 1e-6 < min(drops["words_zeroed"], drops["query_other_video"])
    grounder = Grounder.zero_shot(Letters())
    with h5py.File(place / "data/synthetic/features.hdf5", locking=False) as file:
        for row in read_predictions(place / "zero/predictions.jsonl"):
            found = grounder.ground(file[row.video][()], row.query, duration_sec=row.duration, top=5)
            spans = [(moment.start_sec, moment.end_sec) for moment in found]
            np.testing.assert_allclose(row.predicted[: len(spans)], spans, atol=1e-4)
    content = torch.load(place / "run/checkpoints/best.ckpt", weights_only=True)
    content["cpnet"]["extractor"] = replace(source.extractor, backbone="net").to_dict()
    torch.save(content, place / "net.ckpt")
    for refused, message in (
        (["checkpoint=net.ckpt", *line], "letters: the features come from another extractor"),
        (["zero_shot=efficientnet_lite0", *line], "encodes frames only and cannot answer without training"),
        (["zero_shot=letters"], "zero_shot=letters needs dataset=NAME"),
    ):
        assert message in call("evaluate", *refused, folder=place, code=1).err
