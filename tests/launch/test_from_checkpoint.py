"""An untrusted checkpoint configures a run but runs no code. Oracle: the file that each attempt creates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from commands import TINY, call, compose
from config.attempts import HYDRA, SYSTEM
from cpnet.data.vocabulary import Vocabulary
from cpnet.runs.checkpoint import provenance

TRAIN, EVALUATE = ("train", "resume_from=sent"), ("evaluate", "checkpoint=sent/checkpoints/last.ckpt")


@pytest.fixture(scope="module")
def content() -> dict[str, Any]:
    """Content of a checkpoint, without weights."""
    cfg = compose(*TINY, "model_name=cpnet", "run_name=sent", "experiment_name=null", "output_dir=sent")
    ours = provenance(cfg, Vocabulary(("", "<unk>"), torch.zeros(2, 50)))
    return {"cpnet": ours, "state_dict": {}, "epoch": 0, "global_step": 0, "loops": {}}


def write(content: dict[str, Any], folder: Path, changes: dict[str, Any]) -> None:
    """Write ``sent/checkpoints/last.ckpt`` with other root keys in its configuration."""
    ours = {**content["cpnet"], "config": {**content["cpnet"]["config"], **changes}}
    (folder / "sent/checkpoints").mkdir(parents=True)
    torch.save({**content, "cpnet": ours}, folder / "sent/checkpoints/last.ckpt")
    (folder / "sent/experiment").mkdir()
    evil = OmegaConf.to_yaml(OmegaConf.create({"hydra": {"callbacks": {"evil": SYSTEM}}}))
    (folder / "sent/experiment/evil.yaml").write_text(f"# @package _global_\n{evil}", encoding="utf-8")


ALL = OmegaConf.to_container(OmegaConf.merge(*HYDRA.values()))


@pytest.mark.parametrize("changes", [ALL, *(pytest.param(each, marks=pytest.mark.slow) for each in HYDRA.values())])
@pytest.mark.parametrize("arguments", [TRAIN, EVALUATE])
def test_hydra_keys_of_a_checkpoint_are_ignored(
    changes: dict[str, Any], arguments: tuple[str, ...], content: dict[str, Any], tmp_path: Path
) -> None:
    write(content, tmp_path, changes)
    ended = call(*arguments, "--cfg", "all", folder=tmp_path)
    composed = OmegaConf.create(ended.out)
    assert "evil" not in ended.out
    assert composed.hydra.job.chdir is not True
    assert composed.hydra.launcher.get("_target_") != SYSTEM["_target_"]
    ended = call(*arguments, "dataset.generate=null", folder=tmp_path, code=1)  # fails in the job
    assert ended.err.startswith("cpnet: ")
    assert not list(tmp_path.rglob("pwned*"))


NESTED = {"_target_": "cpnet.training.losses.GroundingLoss", "nested": SYSTEM}


@pytest.mark.parametrize(
    ("arguments", "changes"),
    [(TRAIN, {"model": SYSTEM}), (TRAIN, {"loss": NESTED}), (EVALUATE, {"model": SYSTEM})],
)
def test_targets_of_a_checkpoint_are_checked(
    arguments: tuple[str, ...], changes: dict[str, Any], content: dict[str, Any], tmp_path: Path
) -> None:
    write(content, tmp_path, changes)
    ended = call(*arguments, folder=tmp_path, code=1)
    assert "_target_=os.system is not allowed" in ended.err
    assert not list(tmp_path.rglob("pwned*"))


def test_experimental_rerun_is_refused(tmp_path: Path) -> None:
    for flag in ("--experimental-rerun", "--exp"):
        ended = call("train", flag, "config.pickle", folder=tmp_path, code=1)
        assert "--experimental-rerun is not supported" in ended.err
