"""The benchmarks run: each section at tiny sizes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))  # scripts in no package
import bench


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    "names", ["steps,starving", pytest.param("serving,loader,lengths,peers", marks=pytest.mark.slow)]
)
def test_sections_print_rows_and_keep_them(
    names: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("ERROR", "cpnet")  # the benchmarks set it, which caplog undoes
    bench.main([names, "--quick", "--peers", str(tmp_path), "--json", str(tmp_path / "kept.json")])
    rows = json.loads((tmp_path / "kept.json").read_text(encoding="utf-8"))["rows"]
    assert {row["section"] for row in rows} == set(names.split(","))
    printed = capsys.readouterr().out
    assert all(row["part"] in printed for row in rows)
    assert ("LGI, D = 512: skipped: FileNotFoundError: no folder" in printed) == ("peers" in names)
