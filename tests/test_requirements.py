"""requirements.lock against constraints.txt."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def pins(name: str) -> dict[str, str]:
    """Return versions by normalised name."""
    text = (ROOT / name).read_text(encoding="utf-8")
    found = re.findall(r"^([A-Za-z][\w.-]*)==([^\s;\\]+)", text, re.MULTILINE)
    return {re.sub(r"[-_.]+", "-", package).lower(): version for package, version in found}


@pytest.fixture(scope="module")
def lock() -> str:
    return (ROOT / "requirements.lock").read_text(encoding="utf-8")


def test_lock_has_the_tested_versions() -> None:
    locked, tested = pins("requirements.lock"), pins("constraints.txt")
    assert len(locked) > 100
    assert {name: version for name, version in locked.items() if tested.get(name, version) != version} == {}
    assert "torch" not in locked
    assert {"hydra-core", "omegaconf", "pytorch-lightning", "numpy", "h5py", "wandb", "pytest"} <= locked.keys()


def test_every_version_has_hashes(lock: str) -> None:
    entries = re.split(r"\n(?=[A-Za-z])", lock)[1:]
    assert len(entries) == len(pins("requirements.lock"))
    assert [entry for entry in entries if not re.search(r"--hash=sha256:[0-9a-f]{64}\b", entry)] == []


def test_lock_names_no_index_and_no_path(lock: str) -> None:
    assert not re.search(r"://|file:|^\s*-[a-z-](?!-hash)|@ ", re.sub(r"--hash=\S+", "", lock), re.MULTILINE)
