"""CPNet solves the synthetic corpus only with both video and query."""

from __future__ import annotations

import json
from pathlib import Path

import hydra
import pytest

from cpnet.config import CONFIG_DIR, register_schemas
from cpnet.train import train


def train_blind(folder: Path, blind: str) -> tuple[float, float]:
    """Train on the corpus; return the test mIoU of the model and of the best trivial predictor."""
    register_schemas()
    overrides = ["dataset=synthetic", "model=cpnet_small", "model_name=cpnet_small", "trainer=cpu", "logger=none"]
    overrides += ["experiment_name=null", "model.hidden_dim=64", "optimizer.lr=1e-3", "epochs=20"]
    overrides += ["trainer.enable_progress_bar=false"]
    overrides += [f"dataset.blind={blind}", f"data_dir={folder}/data", f"output_dir={folder}/{blind}"]
    with hydra.initialize_config_dir(version_base="1.3", config_dir=str(CONFIG_DIR)):
        cfg = hydra.compose("train", overrides=overrides)
    train(cfg)
    results = json.loads((folder / blind / "results.json").read_text())
    return results["metrics"]["mIoU"], max(row["metrics"]["mIoU"] for row in results["trivial"].values())


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_only_a_model_with_video_and_query_beats_constants(tmp_path: Path) -> None:
    seeing, constant = train_blind(tmp_path, "none")
    without_video, _ = train_blind(tmp_path, "video")
    without_words, _ = train_blind(tmp_path, "query")
    assert constant < 25
    assert seeing > constant + 25
    assert max(without_video, without_words) < constant + 5
