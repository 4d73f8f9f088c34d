"""Oracle: a checkpoint that the code of format 1 has written, and what that code predicted with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from commands import call
from cpnet.data.moment import DataError
from cpnet.migration import migrate
from cpnet.recovery import newest

FIXTURES = Path(__file__).parent / "fixtures"
OLD = FIXTURES / "format1.ckpt"  # without the optimiser's state and the like


def read_jsonl(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_checkpoint_of_format_1_predicts_what_it_did(tmp_path: Path) -> None:
    settings = ("trainer=cpu", "trainer.enable_progress_bar=false", "hydra.run.dir=run")
    ended = call("evaluate", f"checkpoint={OLD}", *settings, folder=tmp_path)
    assert ended.code == 0, ended.err
    before, now = read_jsonl(FIXTURES / "format1_predictions.jsonl"), read_jsonl(tmp_path / "run/predictions.jsonl")
    assert len(before) == 12
    for old, new in zip(before, now, strict=True):
        for key in ("qid", "video", "query", "duration", "true"):
            assert new[key] == old[key]
        assert new["predicted"][0] == pytest.approx(old["predicted"][0], abs=1e-4)
        assert new["iou"] == pytest.approx(old["iou"], abs=1e-4)


def test_names_and_layouts_are_todays() -> None:
    kernel = torch.arange(6.0).reshape(2, 1, 1, 3)  # 2 channels, 3 taps
    weights = {"a.depthwise.convolution.weight": kernel, "a.attention_norm.weight": torch.ones(2)}
    same = {"b.depthwise.bias": torch.ones(1), "b.pointwise.weight": torch.ones(2, 2, 1, 1)}
    content: dict[str, Any] = {
        "cpnet": {"format": 1, "config": {}},
        "state_dict": weights | same,
        "epoch": 3,
        "loops": {},
    }
    now = migrate(content)
    assert now["cpnet"] == {"format": 2, "config": {}}
    assert now["epoch"] == 3
    assert "loops" not in now
    expected = {"a.depthwise.weight": [[0.0, 3.0], [1.0, 4.0], [2.0, 5.0]], "a.attention.norm.weight": [1.0, 1.0]}
    found = {name: weight for name, weight in now["state_dict"].items() if name.startswith("a.")}
    assert {name: weight.tolist() for name, weight in found.items()} == expected
    assert all(torch.equal(now["state_dict"][name], weight) for name, weight in same.items())
    assert content["cpnet"]["format"] == 1  # it is left as it was


def test_todays_format_is_left_alone() -> None:
    content = {"cpnet": {"format": 2}, "state_dict": {"a.attention_norm.weight": torch.ones(2)}, "loops": {}}
    assert migrate(content) is content


def test_a_run_of_format_1_cannot_be_gone_on_with(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    content = torch.load(OLD, weights_only=True) | {"loops": {"fit_loop": {}}, "optimizer_states": [{}]}
    torch.save(content, tmp_path / "checkpoints/last.ckpt")
    with pytest.raises(DataError, match="is of an older format: it can be evaluated, not gone on with"):
        newest(tmp_path)


def test_the_fixture_tells_nothing_of_a_machine() -> None:
    assert OLD.stat().st_size < 150_000
    content = torch.load(OLD, weights_only=True)
    assert content.keys() == {"epoch", "global_step", "pytorch-lightning_version", "state_dict", "cpnet"}
    assert not [text for text in texts(content) if text.startswith(("/", "~")) or "@" in text]


def texts(node: object) -> list[str]:
    if isinstance(node, dict):
        return [text for each in (*node, *node.values()) for text in texts(each)]
    if isinstance(node, list | tuple):
        return [text for each in node for text in texts(each)]
    return [node] if isinstance(node, str) else []
