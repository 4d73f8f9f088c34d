"""The GPU benchmark on tiny sizes, without a GPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))  # scripts in no package
import gpu
import gpu_steps

SCRIPT = Path(gpu.__file__).with_name("gpu.sh")


@pytest.mark.parametrize("name", gpu.STEPS)
def test_part_prints_rows(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    getattr(gpu_steps, name)(gpu.Run("cpu", True, tmp_path, 60))
    rows = [json.loads(line[4:]) for line in capsys.readouterr().out.splitlines() if line.startswith(gpu.ROW)]
    assert rows
    assert "failed" not in [row["value"] for row in rows]


@pytest.mark.parametrize(("seconds", "state"), [(0, "timed out"), (60, "failed")])
def test_part_that_fails_or_hangs_keeps_its_rows(
    seconds: int, state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def steps(run: gpu.Run) -> None:
        run.row("before", 1.5)
        time.sleep(60 - seconds)
        raise ValueError("not on this card")

    monkeypatch.setattr(gpu_steps, "steps", steps)
    part = gpu.run_part(gpu.Run("cpu", True, tmp_path, 2), "steps")
    assert (part["state"], part["rows"][0]["value"]) == (state, 1.5)
    assert part["error"][-1:] == (["ValueError: not on this card"] if state == "failed" else [])


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_part_runs_by_one_command(tmp_path: Path) -> None:
    command = [str(SCRIPT), *["--device", "cpu", "--quick", "--minutes", "60", "--out"], str(tmp_path / "gpu.json")]
    ended = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHON": sys.executable})
    parts = json.loads((tmp_path / "gpu.json").read_bytes())["parts"]
    assert (ended.returncode, parts.keys()) == (0, gpu.PARTS.keys()), ended.stdout + ended.stderr
    assert all(part["rows"] for part in parts.values())
