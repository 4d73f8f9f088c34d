"""``python -m cpnet.export``: the folder answers as the checkpoint does. Its graph is tested in ``exporting``."""

from __future__ import annotations

import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from commands import call, spawn
from cpnet.grounder import Grounder
from cpnet.runs.predictions import read_predictions

BEST = "run/checkpoints/best.ckpt"
EXAMPLE = """
import runpy, sys
sys.modules |= {"cpnet": None, "torch": None}
sys.argv[0] = "model/example.py"
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.slow
def test_example_prints_the_answers_of_the_checkpoint(place: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    ended = call("export", f"checkpoint={place / BEST}", "output=model", folder=tmp_path)
    assert (ended.err, len(ended.out.splitlines())) == ("", 3)
    *_, row = read_predictions(place / "run/predictions.jsonl")
    with h5py.File(place / "data/synthetic/features.hdf5", locking=False) as file:
        rows = file[row.video][()]
    np.save(tmp_path / "rows.npy", rows)
    asked = [row.query, "a zyzzyva"]
    done = spawn("-c", EXAMPLE, "rows.npy", str(row.duration), *asked, folder=tmp_path)
    spans = Grounder.from_checkpoint(place / BEST).spans(rows, row.duration, asked)[:, 0].tolist()
    lines = [f"{start:.2f} to {end:.2f} s: {each}" for (start, end), each in zip(spans, asked, strict=True)]
    assert done.out.splitlines() == lines
    assert "DURATION_SEC" in spawn("-c", EXAMPLE, "rows.npy", folder=tmp_path, code=1).err
    for wrong in (("model/model.json", "30"), ("nowhere.npy", "30"), ("rows.npy", "long")):
        done = spawn("-c", EXAMPLE, *wrong, "a", folder=tmp_path, code=1)
        assert (done.err[:7], done.err.count("\n")) == ("error: ", 1)


@pytest.mark.slow
def test_what_cannot_be_exported_is_refused(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = torch.load(place / BEST, weights_only=True)
    content["cpnet"]["config"]["dataset"]["blind"] = "query"
    torch.save(content, tmp_path / "blind.ckpt")
    (tmp_path / "file").touch()
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    for arguments, message in (
        (["format=tflite"], "format must be one of onnx, torch_export; got 'tflite'"),
        (["format=onnx"], "pip install 'cpnet-grounding[export]'"),
        (["output=file"], "file exists; choose a new folder: output=FOLDER"),
        (["output=file/model"], "file: File exists; choose another folder: output=FOLDER"),
        (["checkpoint=blind.ckpt"], "a model trained with dataset.blind=query cannot be exported"),
    ):
        given = ("format=torch_export", "output=made", *arguments)
        ended = call("export", f"checkpoint={place / BEST}", *given, folder=tmp_path, code=1)
        assert message in ended.err
    assert not (tmp_path / "made").exists()
