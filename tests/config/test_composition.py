"""Hydra acts on nothing that somebody else's file has for it. Oracle: the file that each attempt would make."""

from __future__ import annotations

import copy
import pickle
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import hydra
import pytest
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf

from commands import TINY, call
from config.attempts import HYDRAS, LATE, TARGETS
from config.test_targets import experiment, refused
from cpnet.config import CONFIG_DIR, ConfigError, make_later, register_schemas
from cpnet.config.composition import CheckedLoader, check
from cpnet.config.targets import mappings

CALLBACK = """
from pathlib import Path
from hydra.experimental.callback import Callback

Path("pwned").touch()

class Theirs(Callback):
    '''What Hydra tells that a run begins.'''
"""


def compose(*overrides: str) -> DictConfig:
    """What ``python -m cpnet.train`` composes, with Hydra's own node."""
    register_schemas()
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(version_base="1.3", config_dir=str(CONFIG_DIR), job_name="train"):
        return hydra.compose("train", overrides=[*overrides], return_hydra_config=True)


@pytest.fixture(scope="module")
def composed() -> DictConfig:
    cfg = compose("output_dir=here")
    check(cfg)
    OmegaConf.set_struct(cfg, False)
    return cfg


@pytest.mark.parametrize("attempt", HYDRAS)
def test_what_hydra_would_run_is_refused_by_its_key(attempt: str, composed: DictConfig) -> None:
    key, content = HYDRAS[attempt]
    with pytest.raises(ConfigError, match=rf"^{re.escape(key)}.*\n.*CPNET_TRUSTED=hydra"):
        check(with_changes(composed, {"hydra": content}))


@pytest.mark.parametrize("attempt", sorted(set(TARGETS) - LATE))
def test_a_target_anywhere_is_refused_by_its_key(attempt: str, composed: DictConfig) -> None:
    key, content = TARGETS[attempt]
    with pytest.raises(ConfigError, match=rf"^{re.escape(key)}\._"):
        check(with_changes(composed, content))


@pytest.mark.parametrize("attempt", sorted(LATE))
def test_a_target_that_comes_to_be_by_interpolation_is_refused_when_it_is_called(
    attempt: str, composed: DictConfig
) -> None:
    key, content = TARGETS[attempt]
    cfg = with_changes(composed, content)
    check(cfg)
    with pytest.raises(ConfigError, match=rf"^{re.escape(key)}\._target_=os\.system"):
        make_later(cfg.sampling if key == "sampling" else cfg.callbacks.checkpoint)


def with_changes(cfg: DictConfig, content: Mapping[str, Any]) -> DictConfig:
    changed = copy.deepcopy(cfg)
    for path, mapping in [*mappings(dict(content))]:
        node = OmegaConf.select(changed, path) if path else changed
        if node is None or "_target_" in mapping or not isinstance(node, DictConfig):
            OmegaConf.update(changed, path, mapping, merge=False, force_add=True)
        else:
            for key, value in mapping.items():
                if not isinstance(value, Mapping):
                    OmegaConf.update(changed, f"{path}.{key}" if path else key, value, merge=False, force_add=True)
    return changed


def run_as_sent(attempt: tuple[str, Mapping[str, Any]], folder: Path, *flags: str) -> str:
    """Send an experiment, and give what the command says that is called with it."""
    arguments = (*flags, *experiment(folder, attempt[1]), *TINY)
    return refused(call("train", *arguments, folder=folder), attempt[0], folder)


@pytest.mark.parametrize("attempt", ["callback", "formatter"])
def test_hydra_runs_nothing_of_an_experiment_that_was_sent(attempt: str, tmp_path: Path) -> None:
    key, content = HYDRAS[attempt]
    run_as_sent((key, {"hydra": content}), tmp_path)
    assert not (tmp_path / "outputs").exists()


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["--run", "--multirun"])
@pytest.mark.parametrize("attempt", HYDRAS)
def test_no_command_runs_what_was_sent(attempt: str, mode: str, tmp_path: Path) -> None:
    key, content = HYDRAS[attempt]
    run_as_sent((key, {"hydra": content}), tmp_path, mode)
    assert not (tmp_path / "outputs").exists()


@pytest.mark.slow
@pytest.mark.parametrize("attempt", TARGETS)
def test_no_command_calls_what_was_sent(attempt: str, tmp_path: Path) -> None:
    run_as_sent(TARGETS[attempt], tmp_path)


def test_a_folder_of_configurations_that_was_sent_runs_nothing(tmp_path: Path) -> None:
    (tmp_path / "sent").mkdir()
    (tmp_path / "sent/mine.yaml").write_text(OmegaConf.to_yaml({"hydra": HYDRAS["callback"][1]}))
    arguments = ("--config-path", str(tmp_path / "sent"), "--config-name", "mine")
    refused(call("train", *arguments, folder=tmp_path), "hydra.callbacks.evil._target_=os.system", tmp_path)


def test_a_place_that_an_override_names_runs_nothing(tmp_path: Path) -> None:
    arguments = experiment(tmp_path, {"hydra": HYDRAS["formatter"][1]})
    searched = (f"hydra.searchpath=[file://{tmp_path / 'sent'}]", arguments[-1])
    refused(call("train", *TINY, *searched, folder=tmp_path), "hydra.job_logging.formatters.evil", tmp_path)


@pytest.mark.parametrize("by", ["file", "override", "escaped"])
def test_no_package_is_searched_that_the_user_does_not_trust(
    by: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "their_package"
    package.mkdir()
    (package / "__init__.py").write_text("from pathlib import Path\nPath('pwned').touch()\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "their_package", raising=False)
    (tmp_path / "sent").mkdir()
    (tmp_path / "sent/mine.yaml").write_text("hydra: {searchpath: [pkg://their_package/conf]}\na: 1\n")
    sent = ("--config-path", str(tmp_path / "sent"), "--config-name", "mine", "--cfg", "job")
    slashes = r"\://" if by == "escaped" else "://"  # which is the same to Hydra
    override = f"hydra.searchpath=[pkg{slashes}their_package.conf]"
    arguments = sent if by == "file" else ("--cfg", "job", *TINY, override)
    said = refused(call("train", *arguments, folder=tmp_path), "hydra.searchpath: pkg://their_package", tmp_path)
    assert "CPNET_TRUSTED" in said
    call("train", *arguments, folder=tmp_path, environment={"CPNET_TRUSTED": "their_package"})
    assert (tmp_path / "pwned").exists()


@pytest.mark.slow
def test_a_callback_of_a_trusted_package_is_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "their_callbacks.py").write_text(CALLBACK)
    monkeypatch.syspath_prepend(str(tmp_path))
    node = {"hydra": {"callbacks": {"theirs": {"_target_": "their_callbacks.Theirs"}}}}
    arguments = (*experiment(tmp_path, node), "dataset=tacos")  # whose files are not there
    refused(call("train", *arguments, folder=tmp_path), "hydra.callbacks.theirs", tmp_path)
    call("train", *arguments, folder=tmp_path, environment={"CPNET_TRUSTED": "their_callbacks"})
    assert (tmp_path / "pwned").exists()


def test_no_pickle_of_a_run_is_loaded(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, ...]:
            return Path.touch, (tmp_path / "pwned",)

    (tmp_path / "config.pickle").write_bytes(pickle.dumps(Evil()))
    for flag in ("--experimental-rerun", "--exp"):
        said = refused(call("train", flag, "config.pickle", folder=tmp_path), "--experimental-rerun", tmp_path)
        assert "pickle" in said


@pytest.mark.parametrize(
    ("key", "value"), [("setup", ["touch pwned"]), ("additional_parameters", {"a": 1}), ("comment", "x\ntouch pwned")]
)
def test_a_launcher_gets_no_line_of_a_shell_script(key: str, value: object) -> None:
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher", reason="needs the extra [sweeps]")
    cfg = compose("hydra/launcher=slurm")
    OmegaConf.update(cfg, f"hydra.launcher.{key}", value, force_add=True)
    with pytest.raises(ConfigError, match=rf"^hydra\.launcher\.{key} "):
        check(cfg)


LOGGINGS = ("default", "disabled", "none", "stdout", "cpnet")
LAUNCHERS = ("basic", "processes", "joblib_pair", "slurm", "slurm_local")


@pytest.mark.parametrize(("logging", "launcher"), [*zip(LOGGINGS, LAUNCHERS, strict=True)])
def test_what_is_shipped_is_allowed(logging: str, launcher: str) -> None:
    if launcher in ("joblib_pair", "slurm", "slurm_local"):
        pytest.importorskip("hydra_plugins.hydra_submitit_launcher", reason="needs the extra [sweeps]")
    hydra_logging = "default" if logging in ("stdout", "cpnet") else logging
    chosen = (f"hydra/job_logging={logging}", f"hydra/hydra_logging={hydra_logging}", f"hydra/launcher={launcher}")
    check(compose(*chosen, *(["hydra/sweeper=optuna"] if launcher == "processes" else [])))


def test_launchers_take_the_check_to_other_processes() -> None:
    assert pickle.loads(pickle.dumps(CheckedLoader)) is CheckedLoader
