"""A run killed at random moments by SIGKILL and SIGTERM ends with the results of an uninterrupted run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from soak import soak

pytest.importorskip("wandb", reason="needs the extra [wandb]")
KILLS = int(os.environ.get("KILLS", "20"))


@pytest.mark.slow
@pytest.mark.timeout(90 * max(KILLS, 20))
@pytest.mark.parametrize(("processes", "kills"), [(1, KILLS), (2, 8)])
def test_killed_runs_equal_one_uninterrupted(processes: int, kills: int, tmp_path: Path) -> None:
    tally = soak(tmp_path, kills=kills, processes=processes)
    assert tally.kills.total() == kills
    assert tally.resumes > 0
    assert tally.runs > 0
    assert tally.differing == []
