"""Finite but huge features end a run: by gradients or predictions that are not finite."""

from __future__ import annotations

import shutil
from pathlib import Path

import h5py
import pytest

from commands import TINY, call

RUN = (
    *(each for each in TINY if each != "trainer=debug"),
    *("trainer=cpu", "trainer.compile=false", "epochs=2", "dataset.validation=test", "callbacks.early_stopping=null"),
)


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ("train", "the gradients of all 6 steps were not finite"),
        pytest.param("test", "12 of 12 predictions of the val split are not finite\n", marks=pytest.mark.slow),
    ],
)
def test_huge_features_end_the_run(split: str, message: str, place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "data", tmp_path / "data")
    annotated = (tmp_path / f"data/synthetic/charades_sta_{split}.txt").read_text(encoding="utf-8")
    with h5py.File(tmp_path / "data/synthetic/features.hdf5", "r+", locking=False) as file:
        for video in {line.split()[0] for line in annotated.splitlines()}:
            file[video][...] *= 1e30
    run = (*RUN, "epochs=1")
    for resume in (False, True) if split == "test" else (False,):
        ended = call("train", *run, "hydra.run.dir=run", f"resume={resume}", folder=tmp_path, code=1)
        assert message in ended.err
        assert "normalise=true" in ended.err
    assert not {path.name for path in (tmp_path / "run").iterdir()} & {"results.json", "predictions.jsonl"}
    if split == "train":
        call("train", *run, "dataset.features.normalise=true", "hydra.run.dir=other", folder=tmp_path)
