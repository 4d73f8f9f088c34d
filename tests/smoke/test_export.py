"""``python -m cpnet.export``: the folder answers as the checkpoint does. Its graph is tested in ``exporting``."""

from __future__ import annotations

import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from commands import Ended, call, spawn
from cpnet.grounder import Grounder
from cpnet.runs.predictions import read_predictions

BEST = "run/checkpoints/best.ckpt"


def export(place: Path, *arguments: str) -> Ended:
    return call("export", f"checkpoint={place / BEST}", "hydra.run.dir=exported", *arguments, folder=place)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["onnx", "torch_export"])
def test_example_prints_the_answers_of_the_checkpoint(kind: str, place: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    ended = export(place, f"format={kind}", f"output={tmp_path}/model")
    assert (ended.code, ended.err) == (0, "")
    assert "torch" not in ended.out.replace("torch_export", "")  # the noise is in the log
    *_, row = read_predictions(place / "run/predictions.jsonl")
    with h5py.File(place / "data/synthetic/features.hdf5", locking=False) as file:
        rows = file[row.video][()]
    np.save(tmp_path / "rows.npy", rows)
    asked = [row.query, "a zyzzyva"]
    done = spawn("model/example.py", "rows.npy", str(row.duration), *asked, folder=tmp_path)
    assert done.code == 0, done.err
    spans = Grounder.from_checkpoint(place / BEST).ground(rows, row.duration, asked)[:, 0].tolist()
    lines = [f"{start:.2f} to {end:.2f} s: {each}" for (start, end), each in zip(spans, asked, strict=True)]
    assert done.out.splitlines() == lines
    again = export(place, f"format={kind}", f"output={tmp_path}/model")
    assert f"cpnet: {tmp_path}/model exists already; move it away" in again.err
    assert sorted(each.name for each in tmp_path.iterdir()) == ["model", "rows.npy"]


def test_what_cannot_be_exported_is_refused(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "format must be one of onnx, torch_export; got 'tflite'" in export(place, "format=tflite").err
    content = torch.load(place / BEST, weights_only=True)
    content["cpnet"]["config"]["dataset"]["blind"] = "query"
    torch.save(content, tmp_path / "blind.ckpt")
    ended = call("export", "checkpoint=blind.ckpt", "format=torch_export", "output=made", folder=tmp_path)
    assert (ended.code, "a model trained with dataset.blind=query cannot be exported" in ended.err) == (1, True)
    assert not (tmp_path / "made").exists()
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    ended = export(place)
    assert (ended.code, "pip install 'cpnet-grounding[export]'" in ended.err) == (1, True)
