"""The model of a search."""

from __future__ import annotations

import logging
from pathlib import Path

from cpnet.errors import DataError
from cpnet.grounder import Grounder
from cpnet.runs.folder import newest_best

log = logging.getLogger(__name__)


def find_model(checkpoint: str | None) -> Grounder | None:
    """Load the model of a checkpoint, or without one that of the newest run below ``outputs``; None if there is none.

    Raises:
        DataError: the checkpoint is missing or damaged
    """
    if checkpoint is None:
        try:
            checkpoint = str(newest_best(Path("outputs")))
        except DataError:
            return None
        log.info("model: %s (newest run; checkpoint=PATH chooses another)", checkpoint)
    return Grounder.from_checkpoint(checkpoint)
