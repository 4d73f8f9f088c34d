"""Checkpoint files are replaced atomically."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest
import torch

from cpnet.errors import DataError
from cpnet.training.checkpoint_io import CheckpointFiles


def test_failed_write_keeps_older_file_and_names_the_reason(tmp_path: Path) -> None:
    """The system limits files to 100 kB; torch itself would report 'unexpected pos'."""
    path = tmp_path / "last.ckpt"
    CheckpointFiles().save_checkpoint({"weight": torch.ones(3)}, path)
    before, limits = path.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(DataError, match=r"last\.ckpt cannot be written \(File too large\); the previous file is"):
            CheckpointFiles().save_checkpoint({"weight": torch.ones(1_000_000)}, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
