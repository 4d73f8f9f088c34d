"""Call the commands, in this process where possible, because importing torch takes seconds."""

from __future__ import annotations

import contextlib
import gc
import io
import json
import logging
import os
import runpy
import subprocess
import sys
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hydra
import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig

import cpnet
from cpnet.config import CONFIG_DIR, register_schemas

# A run of a second or two; auto would choose a precision by the processor
TINY = (
    "trainer.precision=32-true",
    *("dataset=synthetic", "model=cpnet_small", "trainer=debug", "trainer.enable_progress_bar=false"),
    *("dataset.generate.videos=20", "model.hidden_dim=16", "sampling.clips=16", "batch_size=8"),
)


def compose(*overrides: str) -> DictConfig:
    """Compose the configuration of a training outside of a run, which has to be given what only a run knows."""
    GlobalHydra.instance().clear()
    register_schemas()
    with hydra.initialize_config_dir(version_base="1.3", config_dir=str(CONFIG_DIR)):
        return hydra.compose("train", overrides=[*overrides])


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


def call(
    command: str, *arguments: str, folder: Path, code: int | None = 0, environment: Mapping[str, str] | None = None
) -> Ended:
    """Run ``python -m cpnet.COMMAND ARGUMENTS`` in a folder, and check its exit code unless ``code`` is None.

    An exception other than SystemExit is raised.
    """
    out, err = io.StringIO(), io.StringIO()
    found: str | int | None = 0
    with pytest.MonkeyPatch.context() as patch, _logging_restored(), warnings.catch_warnings():
        patch.chdir(folder)
        patch.setattr(sys, "argv", [command, *arguments])
        patch.setenv("HYDRA_FULL_ERROR", "1")
        patch.setenv("OPENBLAS_NUM_THREADS", "1")  # cpnet.score sets it
        patch.delenv("CPNET_DATA", raising=False)
        for name, value in (environment or {}).items():
            patch.setenv(name, value)
        patch.delitem(sys.modules, f"cpnet.{command}", raising=False)
        GlobalHydra.instance().clear()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                runpy.run_module(f"cpnet.{command}", run_name="__main__", alter_sys=True)
            except SystemExit as end:
                found = end.code
    return _checked(Ended(int(found or 0), out.getvalue(), err.getvalue()), code)


def spawn(*arguments: str, folder: Path, code: int | None = 0, environment: Mapping[str, str] | None = None) -> Ended:
    """Run a new Python interpreter in a folder, and check its exit code unless ``code`` is None."""
    line = [sys.executable, *arguments]
    done = subprocess.run(line, capture_output=True, text=True, env=_environment(environment), cwd=folder, check=False)
    return _checked(Ended(done.returncode, done.stdout, done.stderr), code)


def _checked(ended: Ended, code: int | None) -> Ended:
    assert code in (None, ended.code), f"exit code {ended.code}\n{ended.out}{ended.err}"
    return ended


def start(
    *arguments: str,
    folder: Path,
    path: Path | None = None,
    environment: Mapping[str, str] | None = None,
    output: int = subprocess.PIPE,
) -> subprocess.Popen[str]:
    """Start a new Python interpreter in a folder, in its own session. ``path`` is added to its import path."""
    line, made = [sys.executable, *arguments], _environment(environment, path)
    return subprocess.Popen(
        line, stdout=output, stderr=subprocess.PIPE, text=True, env=made, cwd=folder, start_new_session=True
    )


def _environment(changes: Mapping[str, str] | None, path: Path | None = None) -> dict[str, str]:
    places = [*([path] if path else []), Path(cpnet.__file__).parents[1]]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, places)), "OMP_NUM_THREADS": "1"}
    environment.pop("CPNET_DATA", None)
    return environment | dict(changes or {})


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def read_jsonl(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """Return the weights of a run's last checkpoint."""
    content: dict[str, torch.Tensor] = torch.load(folder / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
    return content


@contextlib.contextmanager
def _logging_restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        yield
    finally:
        torch.set_flush_denormal(False)  # the defaults, which a command changes
        gc.enable()
        for handler in root.handlers:
            if handler not in handlers:
                handler.close()
        root.handlers[:] = handlers
        root.setLevel(level)
