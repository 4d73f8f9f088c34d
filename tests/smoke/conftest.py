"""One small training run that the tests of this folder share."""

from __future__ import annotations

from pathlib import Path

import pytest

from commands import TINY, call


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Working directory of ``python -m cpnet.train``; the run is in ``run``, its corpus in ``data``."""
    folder = tmp_path_factory.mktemp("place")
    ended = call("train", *TINY, "hydra.run.dir=run", folder=folder)
    assert ended.code == 0, ended.err
    (folder / "printed.txt").write_text(ended.out, encoding="utf-8")
    (folder / "complaints.txt").write_text(ended.err, encoding="utf-8")
    return folder
