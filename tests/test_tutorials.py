"""The code of the pages runs as it stands, and does what they say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from commands import read_json
from pages import blocks, lines, run


def test_the_model_alone() -> None:
    names: dict[str, Any] = {}
    (code,) = blocks("docs/code.md", "python")
    exec(code, names)
    assert names["output"].ranked[:, 0].shape == (4, 2)
    assert names["output"].maps.levels[1].shape == (4, 64, 64)


@pytest.mark.slow
def test_a_new_idea_gets_into_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = "docs/idea.md"
    for name, kind in (("ideas.py", "python"), ("conf/model/gated.yaml", "yaml")):
        (text,) = blocks(page, kind)
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    permit, *commands = lines(page, "sh")
    name, value = permit.removeprefix("export ").split("=")
    small = ("dataset.generate.videos=30", "epochs=1", "trainer.enable_progress_bar=false", "trainer=cpu")
    printed = [run(line, *small, folder=tmp_path, environment={name: value}) for line in commands]
    results = [read_json(path) for path in sorted(tmp_path.glob("outputs/multirun/*/*/*/results.json"))]
    assert [(each["model"], each["seed"]) for each in results] == [
        (model, seed) for model in ("cpnet_small", "gated") for seed in (0, 1, 2)
    ]
    assert results[3]["parameters"] - results[0]["parameters"] == 128 * 128 + 128  # the gate
    assert "difference to cpnet_small" in printed[1]
    assert {*(tmp_path / "outputs/reports").glob("*/differences.png")}
