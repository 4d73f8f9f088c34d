"""Training that begins with the weights of another run. With a learning rate of 0 the result is its beginning."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from commands import TINY, call, read_json

OTHER = (*TINY, "dataset.generate.folder=other", "dataset.features.dim=32", "dataset.generate.seed=5", "optimizer.lr=0")
BEST = "checkpoints/best.ckpt"


@pytest.mark.slow
def test_training_begins_with_the_weights_of_another_run(place: Path, tmp_path: Path) -> None:
    """The corpora differ in videos, words and width. What does not fit begins as without ``init_from``."""
    path = str(place / "run" / BEST)
    for name, arguments in (("fresh", ()), ("tuned", (f"init_from={path}",))):
        call("train", *OTHER, f"hydra.run.dir={name}", *arguments, folder=tmp_path)
    source, fresh, tuned = (
        torch.load(folder / BEST, weights_only=True)["state_dict"]
        for folder in (place / "run", tmp_path / "fresh", tmp_path / "tuned")
    )
    fit = {name for name, each in fresh.items() if each.shape == source[name].shape}
    assert fresh.keys() - fit == {"model.video_projection.1.weight"}
    assert any(not torch.equal(source[name], fresh[name]) for name in fit)
    for name, each in tuned.items():
        assert torch.equal(each, source[name] if name in fit else fresh[name])
    assert read_json(tmp_path / "tuned/results.json")["init_from"] == path
    assert OmegaConf.load(tmp_path / "tuned/config.yaml").init_from == path
    log = (tmp_path / "tuned/train.log").read_text(encoding="utf-8")
    other = "model.video_projection.1.weight: 16x64 in the checkpoint, 16x32 in this model"
    assert f"took {len(fit)} of {len(fresh)} weights; not taken:\n  {other}" in log
