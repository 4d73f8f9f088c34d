"""A run killed at random moments by SIGKILL and SIGTERM ends with the results of an uninterrupted run."""

from __future__ import annotations

from pathlib import Path

import pytest

from soak import soak

pytest.importorskip("wandb", reason="needs the extra [wandb]")


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("processes", "kills"), [(1, 20), (2, 8)])
def test_killed_runs_equal_one_uninterrupted(
    processes: int, kills: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tally = soak(tmp_path, kills=kills, processes=processes)
    with capsys.disabled():
        print(f"\n{tally}")
    assert tally.kills.total() == kills
    assert tally.resumes > 0
    assert tally.runs > 0
    assert tally.differing == []
