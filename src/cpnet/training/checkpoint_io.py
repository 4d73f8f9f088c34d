"""Atomic checkpoint files for Lightning."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins import CheckpointIO

from cpnet.errors import DataError
from cpnet.files import replacing
from cpnet.runs.checkpoint import read_checkpoint


class CheckpointFiles(CheckpointIO):
    """Writes checkpoints atomically and reads them with ``read_checkpoint``."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any | None = None
    ) -> None:
        """Write a checkpoint to disk, then replace the older one.

        Raises:
            DataError: the file cannot be written; the older one is unchanged
        """
        target = Path(path)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with replacing(target, durable=True) as stream:
                torch.save(checkpoint, stream)
        except (OSError, RuntimeError) as error:
            # torch hides a failed write behind a RuntimeError of its own.
            cause = error.__context__ if isinstance(error.__context__, OSError) else error
            reason = getattr(cause, "strerror", None) or next(iter(str(cause).splitlines()), type(cause).__name__)
            raise DataError(
                f"{target} cannot be written ({reason}); the previous file is unchanged. Free some space, then resume"
                f" with resume_from={target.parent.parent}"
            ) from error

    def load_checkpoint(
        self, path: str | os.PathLike[str], map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a checkpoint onto the CPU. ``map_location`` and ``weights_only`` are ignored.

        Raises:
            DataError: see ``read_checkpoint``
        """
        return read_checkpoint(os.fspath(path))

    def remove_checkpoint(self, path: str | os.PathLike[str]) -> None:
        """Delete a checkpoint."""
        Path(path).unlink(missing_ok=True)
