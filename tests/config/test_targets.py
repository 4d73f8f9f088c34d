"""No configuration calls what it likes. Oracle: the file that each attempt makes where nothing stops it."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import hydra
import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from commands import TINY, Ended, call
from config.attempts import CALLBACK, SYSTEM, TARGETS
from cpnet.checkpoint import load_checkpoint, provenance
from cpnet.config import CONFIG_DIR, ConfigError, make_later, register_schemas
from cpnet.config.targets import check_targets, mappings
from cpnet.data.vocabulary import Vocabulary

OWN_MODEL = """
from os import system
from torch import nn

class Mine(nn.Linear):
    def __init__(self, width):
        super().__init__(1, width)
"""


def experiment(folder: Path, content: Mapping[str, Any]) -> tuple[str, ...]:
    """Write an experiment as somebody would send it, and give the arguments that take it."""
    path = folder / "sent/experiment/evil.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"# @package _global_\n{OmegaConf.to_yaml(OmegaConf.create(dict(content)))}", encoding="utf-8")
    return "--config-dir", "sent", "experiment=evil"


def refused(ended: Ended, key: str, folder: Path) -> str:
    """What a command said that did not do what it was told."""
    assert ended.code == 1
    assert "Traceback" not in ended.out + ended.err
    said = ended.err[ended.err.index("cpnet: ") + len("cpnet: ") :]
    assert said.startswith(key), said
    assert not list(folder.rglob("pwned*"))
    return said


def test_an_experiment_that_was_sent_calls_nothing(tmp_path: Path) -> None:
    key, content = TARGETS["nested"]
    said = refused(call("train", *experiment(tmp_path, content), *TINY, folder=tmp_path), key, tmp_path)
    assert "CPNET_TRUSTED=my_package" in said
    assert "cpnet.models" in said


def test_the_attempts_would_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CPNET_TRUSTED", "os, posix")
    make_later(OmegaConf.create(SYSTEM))()
    assert (tmp_path / "pwned").exists()


@pytest.mark.parametrize("key", ["model", "loss.nested", "dataset.reader"])
def test_a_checkpoint_that_was_sent_calls_nothing(key: str, tmp_path: Path) -> None:
    register_schemas()
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(version_base="1.3", config_dir=str(CONFIG_DIR)):
        cfg = hydra.compose("train", overrides=["model_name=cpnet"])
    OmegaConf.set_struct(cfg, False)
    OmegaConf.update(cfg, key, SYSTEM, merge=False, force_add=True)
    words = Vocabulary(("", "<unk>"), torch.zeros(2, 300))
    sent = {"cpnet": provenance(cfg, words), "state_dict": {}, "epoch": 0}
    torch.save(sent, tmp_path / "sent.ckpt")
    load_checkpoint(tmp_path / "sent.ckpt")
    refused(call("evaluate", "checkpoint=sent.ckpt", "trainer=cpu", folder=tmp_path), f"{key}._target_=os", tmp_path)


def test_every_target_that_is_shipped_may_be_called() -> None:
    files = sorted(CONFIG_DIR.glob("**/*.yaml"))
    targets = {
        str(node["_target_"])
        for file in files
        for _, node in mappings(OmegaConf.to_container(OmegaConf.load(file)))
        if "_target_" in node and "hydra" not in file.parts
    }
    assert len(targets) > 15
    for target in targets:
        check_targets({"node": {"_target_": target}})
        assert make_later(OmegaConf.create({"_target_": target})).func.__name__ == target.rpartition(".")[2]


@pytest.mark.parametrize(
    ("node", "said"),
    [
        (
            {"_target_": "cpnet.data.readers.checks.Path"},
            "node._target_=cpnet.data.readers.checks.Path, which is pathlib.Path,",
        ),
        ({"_target_": "cpnet.models.encoder.nn"}, "node._target_=cpnet.models.encoder.nn, which is None.None,"),
        ({"_target_": "torch.optim.swa_utils.update_bn"}, "which is torch.optim.swa_utils.update_bn,"),
        ({"_target_": "torch.optim.swa_utils.Module"}, "which is torch.nn.modules.module.Module,"),
        ({"_target_": "cpnet.models.Nothing"}, "there is no such class or function"),
        ({"_target_": "cpnet.models.CPNet.__init__.__globals__"}, "there is no such class or function"),
        ({"_target_": "cpnet.modelsystem.x"}, "node._target_=cpnet.modelsystem.x is nothing that"),
        ({"_target_": "os"}, "node._target_ must be the dotted name of a class or function; got 'os'"),
        ({"_target_": "..os.system"}, "must be the dotted name"),
        ({"_target_": 3}, "must be the dotted name"),
        ({"_target_": ["os", "system"]}, "must be the dotted name"),
        ({"_target_": None}, "must be the dotted name"),
        ({"a": 1}, "must be the dotted name"),
        ({"_target_": "cpnet.losses.GroundingLoss", "_args_": [1]}, "node._args_ is not allowed here"),
        ({"_target_": "cpnet.losses.GroundingLoss", "a": {"b": {"_convert_": "object"}}}, "node.a.b._convert_"),
        ({"_target_": "cpnet.losses.GroundingLoss", "a": [{"b": SYSTEM}]}, "node.a[0].b._target_=os.system is"),
        ({"_target_": CALLBACK, "on_fit_start": "${oc.create:'{_target_: os.system}'}"}, "node.on_fit_start._target_"),
        ({"_target_": "${oc.decode:\"'os.system'\"}"}, "node._target_=os.system"),
    ],
)
def test_what_was_found_is_checked_before_it_is_called(node: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)):
        make_later(OmegaConf.create({"node": node}).node)


def test_no_module_of_others_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "evil_package.py").write_text("from pathlib import Path\nPath('pwned').touch()\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"evil_package\.Model is nothing that a configuration may call"):
        make_later(OmegaConf.create({"_target_": "evil_package.Model"}))
    assert "evil_package" not in sys.modules
    assert not (tmp_path / "pwned").exists()


def test_nothing_is_resolved_once_more_after_the_check() -> None:
    escaped = r"\${oc.create:'{_target_: os.system, command: touch pwned}'}"
    made = make_later(OmegaConf.create({"_target_": "cpnet.losses.GroundingLoss", "attention_weight": escaped}))
    assert made.keywords == {"attention_weight": escaped[1:]}


def test_nodes_below_a_node_are_made_and_may_be_left_for_later() -> None:
    loss = {"_target_": "cpnet.losses.GroundingLoss", "attention_weight": 2.0}
    node = OmegaConf.create({"_target_": CALLBACK, "a": [loss, {"b": {**loss, "_partial_": True}}], "c": 1})
    made = make_later(node).keywords
    assert made["c"] == 1
    assert made["a"][0].attention_weight == 2.0
    assert made["a"][1]["b"]().attention_weight == 2.0


def test_a_model_of_ones_own_is_made_where_the_user_trusts_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "their_models.py").write_text(OWN_MODEL)
    monkeypatch.syspath_prepend(str(tmp_path))
    node = OmegaConf.create({"model": {"_target_": "their_models.Mine", "width": 3}}).model
    with pytest.raises(
        ConfigError, match=r"^model\._target_=their_models\.Mine is .*\n.*\n.*CPNET_TRUSTED=my_package$"
    ):
        make_later(node)
    monkeypatch.setenv("CPNET_TRUSTED", "other, their_models")
    assert make_later(node)().out_features == 3
    with pytest.raises(ConfigError, match=r"their_models\.system, which is posix\.system, is nothing"):
        make_later(OmegaConf.create({"_target_": "their_models.system"}))
