"""The GPU benchmark on tiny sizes, without a GPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))  # scripts in no package
import gpu
from sections import Options, Row
from setups import TINY

SCRIPT = Path(gpu.__file__).with_name("gpu.sh")


@pytest.mark.parametrize(("seconds", "state"), [(2, "timed out"), (60, "failed"), (-1, "not run")])
def test_part_that_fails_or_hangs_keeps_its_rows(
    seconds: int, state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def waits(*_: object) -> Iterator[Row]:
        """Rows before an error."""
        yield {"before": 1.5}
        time.sleep(60 - seconds)
        raise ValueError("not on this GPU")

    monkeypatch.setattr(gpu, "waits", waits)
    monkeypatch.setattr(gpu, "LEAST_SECONDS", 0)
    out = tmp_path / "gpu.json"
    options = Options(torch.device("cpu"), [TINY], ["fp32"], repeats=1, quick=True)
    assert gpu.run_part("waits", options, tmp_path, seconds, out) == state
    *rows, end = json.loads(out.read_bytes())["rows"]
    assert [row["before"] for row in rows] == [1.5] * (seconds > 0)
    assert (end["part"], end["state"]) == ("waits", state)
    assert end["error"].endswith("ValueError: not on this GPU\n") == (state == "failed")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_part_runs_by_one_command(tmp_path: Path) -> None:
    command = [str(SCRIPT), *["--device", "cpu", "--quick", "--minutes", "60", "--out"], str(tmp_path / "gpu.json")]
    ended = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHON": sys.executable})
    rows = json.loads((tmp_path / "gpu.json").read_bytes())["rows"]
    assert {row["section"] for row in rows} == {*gpu.PARTS, "gpu"}, ended.stdout + ended.stderr
    assert (ended.returncode, "failed" in ended.stdout) == (0, False), ended.stdout + ended.stderr
