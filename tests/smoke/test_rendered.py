"""From nothing to answers about new video files: render, extract, train, ask about files of another seed."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from itertools import combinations, groupby
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from commands import call, read_json
from cpnet.data.corpora.rendered import RenderedCorpus
from cpnet.data.readers import read_jsonl
from cpnet.grounder import Grounder
from pages import blocks, lines, run

pytest.importorskip("av")
pytest.importorskip("onnxruntime")


def trained(folder: Path, run: str, *arguments: str) -> float:
    """Train, and return the mIoU of the test split."""
    settings = ("dataset=rendered", "model=cpnet_frames", "trainer=cpu", "trainer.enable_progress_bar=false")
    call("train", *settings, *arguments, f"hydra.run.dir={run}", folder=folder)
    return float(read_json(folder / run / "results.json")["metrics"]["mIoU"])


def mean_iou(found: NDArray[Any], true: NDArray[Any]) -> float:
    common = np.minimum(found[:, 1], true[:, 1]) - np.maximum(found[:, 0], true[:, 0])
    whole = np.maximum(found[:, 1], true[:, 1]) - np.minimum(found[:, 0], true[:, 0])
    return float((common.clip(0) / whole).mean())


def check_readme(folder: Path) -> None:
    """Check that the command of the README's first screen finds the moment that its sentence describes."""
    (command,) = (line for line in lines("README.md", "") if line.startswith("python -m cpnet.predict"))
    run(f"{command} json=answers.jsonl".replace("outputs/demo", "run"), folder=folder)
    (answer,) = map(json.loads, (folder / "answers.jsonl").read_text(encoding="utf-8").splitlines())
    (true,) = [
        moment.windows_sec
        for moment in read_jsonl(annotations=folder / "data/rendered/test.jsonl")
        if moment.video == answer["vid"] and moment.query.strip(".") == answer["query"]
    ]
    assert mean_iou(np.array(answer["pred_relevant_windows"])[:1, :2], np.array(true)) > 0.5
    assert (folder / "ball.mp4").stat().st_size > 0


def check_code(folder: Path) -> None:
    """Check that the Python of the pages answers about a video."""
    for name in ("kitchen.mp4", "upload.mp4"):
        shutil.copy(folder / "data/rendered/videos/video_00296.mp4", folder / name)
    shutil.copy(folder / "run/checkpoints/best.ckpt", folder)
    for page, printed in (("README.md", 2), ("docs/predict.md", 6), ("docs/video.md", 0)):
        (code,) = blocks(page, "python")
        with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as out:
            patch.chdir(folder)
            exec(code.replace("outputs/demo", "run"), {})
        assert len(out.getvalue().splitlines()) == printed


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_model_of_rendered_videos_finds_moments_in_new_files(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    tested = trained(tmp_path, "run")
    RenderedCorpus(folder=tmp_path / "new", videos=50, seed=1).prepare()
    moments = [m for part in ("train", "val", "test") for m in read_jsonl(annotations=tmp_path / f"new/{part}.jsonl")]
    grounder = Grounder.from_checkpoint(tmp_path / "run/checkpoints/best.ckpt")
    found = [
        (moment.start_sec, moment.end_sec)
        for video, asked in groupby(moments, key=lambda moment: moment.video)
        for moment in grounder.ground(tmp_path / f"new/videos/{video}.mp4", [each.query for each in asked])
    ]
    check_readme(tmp_path)
    check_code(tmp_path)
    true, durations = (np.array([m.windows_sec[0] for m in moments]), np.array([[m.duration_sec] for m in moments]))
    score = mean_iou(np.array(found), true)
    constant = max(mean_iou(durations * span, true) for span in combinations(np.linspace(0, 1, 41), 2))
    blind = [trained(tmp_path, each, f"dataset.blind={each}") for each in ("video", "query")]
    with capfd.disabled():
        print(f"\nmIoU {score:.3f}, constant {constant:.3f}; test split {tested:.1f}, blind video and query {blind}")
    assert len({moment.video for moment in moments}) == 50
    assert score >= 0.6
    assert constant < 0.3
    assert max(blind) < 36
