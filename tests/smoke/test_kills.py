"""Kills at random moments, by SIGKILL and SIGTERM, in every part of a run."""

from __future__ import annotations

from pathlib import Path

import pytest

from soak import soak

pytest.importorskip("wandb", reason="needs the extra [wandb]")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_twenty_kills_change_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tally = soak(tmp_path, kills=20)
    with capsys.disabled():
        print(f"\n{tally}")
    assert tally.kills.total() == 20
    assert tally.resumes > 0
    assert tally.runs > 0
    assert tally.differing == []


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_kills_of_a_run_of_two_processes_change_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tally = soak(tmp_path, kills=8, processes=2)
    with capsys.disabled():
        print(f"\n{tally}")
    assert tally.kills.total() == 8
    assert tally.resumes > 0
    assert tally.runs > 0
    assert tally.differing == []
