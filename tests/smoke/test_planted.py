"""CPNet solves the synthetic corpus only with both video and query."""

from __future__ import annotations

from pathlib import Path

import pytest

from commands import call, read_json

RUN = (
    *("dataset=synthetic", "model=cpnet_small", "model.hidden_dim=64", "optimizer.lr=1e-3", "epochs=20"),
    *("trainer=cpu", "trainer.enable_progress_bar=false"),
)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_only_a_model_with_video_and_query_beats_constants(tmp_path: Path) -> None:
    found = {}
    for blind in ("none", "video", "query"):
        call("train", *RUN, f"dataset.blind={blind}", f"hydra.run.dir={blind}", folder=tmp_path)
        results = read_json(tmp_path / blind / "results.json")
        found[blind] = results["metrics"]["mIoU"]
    constant = max(each["metrics"]["mIoU"] for each in results["trivial"].values())  # the same in all runs
    assert constant < 25
    assert found["none"] > constant + 25
    assert max(found["video"], found["query"]) < constant + 5
