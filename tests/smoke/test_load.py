"""A million pairs are measured within 3 GB."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from commands import spawn

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(sys.platform != "linux", reason="the benchmark reads peak memory from Linux")
def test_million_pairs_need_less_than_three_gigabytes() -> None:
    spawn("benchmarks/load.py", folder=ROOT)
