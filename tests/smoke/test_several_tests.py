"""A corpus in the form of Charades-CD, and a corpus that is split again: trained, evaluated, scored and reported."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from commands import Ended, call, read_json
from cpnet.data.readers import read_charades_sta
from cpnet.data.resplit import resplit

CD = ("charades_train", "charades_val", "charades_test_iid", "charades_test_ood")
QUIET = "trainer.enable_progress_bar=false"
MODEL = ("model=cpnet_small", "model.hidden_dim=16", "sampling.clips=16", "batch_size=8", "trainer=debug", QUIET)


@pytest.fixture(scope="module")
def cd(place: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Ended]:
    """Train on ``dataset=charades_cd`` with files made of the synthetic corpus; return the folder, and how it ended."""
    folder, made = tmp_path_factory.mktemp("cd"), place / "data/synthetic"
    splits = {
        split: read_charades_sta(
            annotations=made / f"charades_sta_{split}.txt", durations=made / f"Charades_v1_{split}.csv"
        )
        for split in ("train", "test")
    }
    (folder / "data/charades_cd").mkdir(parents=True)
    for name, moments in zip(CD, resplit(splits, by="position", seed=0).values(), strict=True):
        videos: dict[str, dict[str, Any]] = {}
        for each in moments:
            entry = videos.setdefault(
                each.video, {"video_duration": each.duration_sec, "timestamps": [], "sentences": []}
            )
            entry["timestamps"] += each.windows_sec
            entry["sentences"] += [each.query]
        (folder / f"data/charades_cd/{name}.json").write_text(json.dumps(videos), encoding="utf-8")
    features = (f"dataset.features.path={made}/features.hdf5", "dataset.features.dim=64")
    words = (f"dataset.word_vectors.path={made}/glove.txt", "dataset.word_vectors.dim=50")
    run = ("dataset=charades_cd", *MODEL, *features, *words, "hydra.run.dir=outputs/run")
    return folder, call("train", *run, folder=folder)


def test_training_measures_both_tests_of_charades_cd(cd: tuple[Path, Ended]) -> None:
    _, ended = cd
    for text in ("charades_cd (per cent)", "test_iid, 6 pairs", "test_ood, 12 pairs", "dR@1", "best constant, mIoU"):
        assert text in ended.out
    with (cd[0] / "outputs/run/metrics.csv").open(newline="") as file:
        *_, ood, iid = csv.DictReader(file)
    measured = [[bool(row[f"{name}/mIoU"]) for name in ("test_ood", "test")] for row in (ood, iid)]
    assert measured == [[True, False], [False, True]]


@pytest.mark.slow
def test_other_commands_take_one_test_by_name(cd: tuple[Path, Ended]) -> None:
    folder, _ = cd
    best = ("checkpoint=outputs/run/checkpoints/best.ckpt", "trainer=cpu", QUIET)
    call("evaluate", *best, "split=test_ood", "hydra.run.dir=ood", folder=folder)
    predicted = "outputs/run/test_ood/predictions.jsonl"
    assert (folder / "ood/predictions.jsonl").read_bytes() == (folder / predicted).read_bytes()
    ended = call("report", "hydra.run.dir=report", folder=folder)
    iid, ood = (ended.out.index(f"charades_cd, {split} pairs") for split in ("test_iid split, 6", "test_ood split, 12"))
    assert iid < ood
    score = (f"predictions={predicted}", "dataset=charades_cd", "hydra.run.dir=score")
    assert "split=test: choose one of test_iid, test_ood" in call("score", *score, folder=folder, code=1).err
    assert "12 pairs" in call("score", *score, "split=test_ood", folder=folder).out


def resplit_synthetic(place: Path, place_of_run: Path, *, folder: str = "new", code: int = 0) -> Ended:
    arguments = ("dataset=synthetic", "dataset.generate.videos=20", f"data_dir={place}/data", "action=resplit")
    more = ("by=length", f"folder={folder}", "hydra.run.dir=made")
    return call("prepare", *arguments, *more, folder=place_of_run, code=code)


def test_resplit_writes_a_folder(place: Path, tmp_path: Path) -> None:
    ended = resplit_synthetic(place, tmp_path)
    splits = ("train", "val", "test_iid", "test_ood")
    expected = {"synthetic_by_length.yaml", *(f"{split}.jsonl" for split in splits)}
    assert {path.name for path in (tmp_path / "new").rglob("*.*")} == expected
    assert all(f"\n{split} " in ended.out for split in splits)
    (tmp_path / "file").touch()
    ended = resplit_synthetic(place, tmp_path, folder="file/new", code=1)
    assert "file/new cannot be written (" in ended.err
    assert (tmp_path / "made/distributions.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_new_splits_have_the_features_of_the_old_corpus_and_are_not_overwritten(place: Path, tmp_path: Path) -> None:
    resplit_synthetic(place, tmp_path)
    assert "new exists already" in resplit_synthetic(place, tmp_path, code=1).err
    corpus = ("--config-dir", "new", "dataset=synthetic_by_length", f"data_dir={place}/data")
    call("prepare", *corpus, "hydra.run.dir=look", folder=tmp_path)
    found = read_json(tmp_path / "look/inspect.json")
    assert [*found["coverage"]] == ["train", "val", "test_iid", "test_ood"]
    assert not found["shared"]
