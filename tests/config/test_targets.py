"""No configuration calls what it likes. Oracle: the file that each attempt creates if nothing stops it."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig, ListConfig, OmegaConf

from config.attempts import CALLBACK, LATER, SYSTEM, TARGETS
from cpnet.config import CONFIG_DIR, check_call, make_later
from cpnet.errors import ConfigError
from cpnet.options import CAMOptions, CPNetOptions, EncoderOptions

OWN_MODEL = """
from os import system
from torch import nn

class Mine(nn.Linear):
    def __init__(self, width):
        super().__init__(1, width)
"""


def make(node: dict[str, Any]) -> Any:
    return make_later(OmegaConf.create({"node": node}).node)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("node", [SYSTEM, LATER])
def test_attempts_work_if_trusted(node: dict[str, Any], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CPNET_TRUSTED", "os, posix, subprocess")
    make(node)()
    assert (folder / "pwned").exists()


@pytest.mark.parametrize("attempt", TARGETS)
def test_forbidden_target_is_refused(attempt: str, folder: Path) -> None:
    message, node = TARGETS[attempt]
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}"):
        make(node)
    assert not (folder / "pwned").exists()


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("cpnet.data.readers.checks.Path", "cpnet.data.readers.checks.Path, defined as pathlib.Path,"),
        ("cpnet.models.cpnet.encoder.nn", "cpnet.models.cpnet.encoder.nn, defined as None.None,"),
        ("torch.optim.swa_utils.update_bn", "defined as torch.optim.swa_utils.update_bn,"),
        ("torch.optim.swa_utils.Module", "defined as torch.nn.modules.module.Module,"),
        ("cpnet.models.Nothing", "there is no such class or function"),
        ("cpnet.models.CPNet.__init__.__globals__", "there is no such class or function"),
        ("cpnet.modelsystem.x", "node._target_=cpnet.modelsystem.x is not allowed"),
        ("os", "node._target_ must be the dotted name of a class or function; got 'os'"),
        *((target, "must be the dotted name") for target in ("..os.system", 3, ["os", "system"], None)),
    ],
)
def test_object_is_checked_before_it_is_called(target: object, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        make({"_target_": target})


def test_forbidden_module_is_not_imported(folder: Path) -> None:
    (folder / "evil_package.py").write_text("from pathlib import Path\nPath('pwned').touch()\n")
    with pytest.raises(ConfigError, match=r"evil_package\.Model is not allowed"):
        make({"_target_": "evil_package.Model"})
    assert "evil_package" not in sys.modules
    assert not (folder / "pwned").exists()


def test_interpolations_are_resolved_once() -> None:
    escaped = r"\${oc.create:'{_target_: os.system, command: touch pwned}'}"
    assert make({"_target_": CALLBACK, "on_fit_start": escaped}).keywords == {"on_fit_start": escaped[1:]}


def targets(node: Any) -> list[str]:
    if isinstance(node, DictConfig | ListConfig):
        node = OmegaConf.to_container(node)
    others = [each for key, each in node.items() if key != "hydra"] if isinstance(node, dict) else node  # Hydra's own
    children = others if isinstance(others, list) else []
    own = [str(node["_target_"])] if isinstance(node, dict) and "_target_" in node else []
    return [*own, *(target for child in children for target in targets(child))]


def test_every_shipped_target_is_allowed() -> None:
    files = [file for file in CONFIG_DIR.glob("**/*.yaml") if "hydra" not in file.relative_to(CONFIG_DIR).parts]
    shipped = {target for file in files for target in targets(OmegaConf.load(file))}
    assert len(shipped) > 15
    for target in shipped:
        assert make({"_target_": target}).func.__name__ == target.rpartition(".")[2]


def test_nodes_below_a_node_are_instantiated() -> None:
    loss = {"_target_": "torch.optim.swa_utils.SWALR", "swa_lr": 2.0}
    later = {**loss, "_partial_": True}
    callback = {"_target_": CALLBACK, "on_fit_start": 3}
    made = make({"_target_": CALLBACK, "a": [callback, {"b": later}], "c": 1}).keywords
    assert made["c"] == 1
    assert made["a"][0].on_fit_start == 3
    assert made["a"][1]["b"].keywords == {"swa_lr": 2.0}


def test_keys_are_joined_into_the_options_of_a_constructor() -> None:
    keys = {"hidden_dim": 24, "cam": {"scale": True}, "encoder": {"num_heads": 4}}
    options = CPNetOptions(hidden_dim=24, cam=CAMOptions(scale=True), encoder=EncoderOptions(num_heads=4))
    assert make({"_target_": "cpnet.models.CPNet", "video_dim": 3, **keys}).keywords == {
        "video_dim": 3,
        "options": options,
    }


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"depth": 3}, "unexpected keyword argument 'depth'"),
        ({"cam": {"depth": 3}}, "unexpected keyword argument 'depth'"),
        ({"pyramid_levels": 9}, r"^model\.pyramid_levels must be 1 to 8; got 9$"),
    ],
)
def test_a_wrong_option_names_its_key(keys: dict[str, Any], message: str) -> None:
    node = OmegaConf.create({"_target_": "cpnet.models.CPNet", "video_dim": 3, **keys})
    with pytest.raises((TypeError, ValueError), match=message):
        make_later(node)(word_vectors=torch.zeros(2, 3))


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "missing a required argument: 'durations'; it takes annotations, d"),
        ({"durations": "d", "fps": 1}, "got an unexpected keyword argument 'fps'"),
    ],
)
def test_arguments_of_a_reader_are_checked(files: dict[str, Any], message: str) -> None:
    later = make({"_target_": "cpnet.data.readers.read_charades_sta", "annotations": "a"})
    with pytest.raises(ConfigError, match=rf"^dataset\.splits\.val: read_charades_sta: {message}"):
        check_call(later, files, "dataset.splits.val")


def test_trusted_package_is_allowed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "their_models.py").write_text(OWN_MODEL)
    node = {"_target_": "their_models.Mine", "width": 3}
    with pytest.raises(ConfigError, match=r"^node\._target_=their_models\.Mine is .*\n.*\n.*CPNET_TRUSTED=my_package$"):
        make(node)
    monkeypatch.setenv("CPNET_TRUSTED", "other, their_models")
    assert make(node)().out_features == 3
    with pytest.raises(ConfigError, match=r"their_models\.system, defined as posix\.system, is not allowed"):
        make({"_target_": "their_models.system"})
