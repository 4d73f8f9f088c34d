"""Settings of all tests."""

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from commands import TINY, call
from device import DEVICE, MADE_ON_DEVICE

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # for tests that import onnxruntime before cpnet does

# Machines that run the tests are shared and slow at times: a deadline would fail for their sake.
settings.register_profile("cpnet", deadline=None, max_examples=50)
settings.load_profile("cpnet")


@pytest.fixture(autouse=True)
def _made_on_device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make new tensors on the tested device."""
    if DEVICE.type == "cpu" or not any(part in request.path.as_posix() for part in MADE_ON_DEVICE):
        yield
        return
    monkeypatch.setattr(torch, "Generator", partial(torch.Generator, DEVICE))
    with DEVICE:
        yield


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Working directory of a small training run, which tests share; the run is in ``run``, its corpus in ``data``."""
    folder = tmp_path_factory.mktemp("place")
    ended = call("train", *TINY, "hydra.run.dir=run", folder=folder)
    (folder / "printed.txt").write_text(ended.out, encoding="utf-8")
    (folder / "complaints.txt").write_text(ended.err, encoding="utf-8")
    return folder
