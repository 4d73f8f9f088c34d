"""From nothing to answers about new video files: render, extract, train, evaluate on videos of another seed."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from commands import call

pytest.importorskip("av")
pytest.importorskip("onnxruntime")

TRAIN = (
    *("dataset=rendered", "model=cpnet_small", "epochs=36", "optimizer.lr=1e-3", "model.dropout=0.2"),
    *("trainer=cpu", "trainer.compile=false", "trainer.enable_progress_bar=false"),
)
# The 50 videos of its training split, of which the model saw none
NEW = ("dataset.generate.seed=1", "dataset.generate.videos=62", "dataset.generate.folder=new", "split=train")


def measured(folder: Path, run: str, *arguments: str) -> dict[str, Any]:
    ended = call("train", *TRAIN, *arguments, f"hydra.run.dir={run}", folder=folder)
    assert ended.code == 0, ended.err
    settings = [f"checkpoint={run}/checkpoints/best.ckpt", *NEW, "trainer=cpu", f"hydra.run.dir={run}/new"]
    ended = call("evaluate", *settings, folder=folder)
    assert ended.code == 0, ended.err
    results: dict[str, Any] = json.loads((folder / run / "new/results.json").read_text(encoding="utf-8"))
    return results


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_model_of_rendered_videos_finds_moments_in_new_ones(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    began = time.monotonic()
    results = measured(tmp_path, "run")
    minutes = (time.monotonic() - began) / 60
    constant = max(each["metrics"]["mIoU"] for each in results["trivial"].values())
    with capsys.disabled():
        print(
            f"\nrender, extract, train, evaluate: {minutes:.1f} minutes, {results['metrics']}, constant {constant:.1f}"
        )
    assert len(list((tmp_path / "new/videos").iterdir())) == 62
    assert results["metrics"]["mIoU"] >= 60
    assert constant < 30
    for blind in ("video", "query"):
        assert measured(tmp_path, blind, f"dataset.blind={blind}", "epochs=15")["metrics"]["mIoU"] < 36, blind
