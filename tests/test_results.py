"""Oracle: tables worked out by hand, a slow search over the grid of constants, and git itself."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.utilities import rank_zero_only
from rich.console import Console
from torch import nn

import cpnet
from corpora import TEST, TRAIN, moment
from cpnet import results
from cpnet.data.moment import Moment
from metrics import reference

METRICS = {"recall_at": [1], "thresholds": [0.5], "strict": False, "discounted": True}


def config(**dataset: Any) -> DictConfig:
    return OmegaConf.create(
        {
            "model_name": "cpnet",
            "seed": 7,
            "trainer": {"precision": "bf16-mixed"},
            "metrics": METRICS,
            "sampling": {"_target_": "cpnet.data.sampling.Pick", "clips": 128},
            "dataset": {
                "name": "tiny",
                "validation": "holdout",
                "holdout_fraction": 0.1,
                "ground_truth": "raw",
                "on_defect": "error",
                "blind": "none",
                "features": {"path": "/data/pack.hdf5"},
                "paper": {"cpnet": {"R1@0.5": 60.27, "mIoU": 52.0}},
            }
            | dataset,
        }
    )


def table(*, width: int = 80, **changes: Any) -> str:
    """What is printed, every row on one line where the width allows."""
    printed = {
        "model": "cpnet",
        "metrics": {"R1@0.5": 12.345, "dR1@0.5": 11.0, "mIoU": 33.0},
        "pairs": 42,
        "trivial": {
            "whole video": {"span": [0.0, 1.0], "metrics": {"R1@0.5": 1.0, "dR1@0.5": 0.0, "mIoU": 20.0}},
            "best constant, mIoU": {"span": [0.025, 0.4], "metrics": {"R1@0.5": 2.5, "dR1@0.5": 1.0, "mIoU": 22.0}},
        },
        "paper": {"mIoU": 52.0},
        "paper_model": "cpnet",
        "protocol": results.protocol(config(), "test"),
    }
    console = Console(width=width, record=True, file=io.StringIO())
    results.print_results(printed | changes, console=console)
    return console.export_text()


def cells(text: str) -> list[list[str]]:
    """Rows of a printed table, without the rules between them."""
    return [[cell.strip() for cell in line.strip("│").split("│")] for line in text.splitlines() if line.startswith("│")]


def slow_best(moments: list[Moment], threshold: float | None) -> tuple[float, float]:
    best, found = -1.0, (0.0, 0.0)
    for start in range(41):
        for end in range(start + 1, 41):
            span = (start / 40, end / 40)
            ranked, target, _ = arrays(moments, span)
            if threshold is None:
                score = reference.mean_iou(ranked, target)
            else:
                score = reference.recall(ranked, target, n=1, threshold=threshold)
            if score > best + 1e-7:
                best, found = score, span
    return found


def arrays(moments: list[Moment], span: tuple[float, float]) -> tuple[Any, Any, Any]:
    duration = np.array([each.duration_sec for each in moments])
    ranked = np.array([[[span[0] * seconds, span[1] * seconds]] for seconds in duration])
    return ranked, np.array([(each.start_sec, each.end_sec) for each in moments]), duration


def test_trivial_rows_are_fitted_on_train_and_measured_elsewhere() -> None:
    rows = results.trivial_rows(TRAIN, TEST, METRICS)
    spans = {
        "whole video": (0.0, 1.0),
        "best constant, R@1,IoU=0.5": slow_best(TRAIN, 0.5),
        "best constant, mIoU": slow_best(TRAIN, None),
    }
    assert {name: tuple(row["span"]) for name, row in rows.items()} == spans
    for name, span in spans.items():
        ranked, target, duration = arrays(TEST, span)
        assert rows[name]["metrics"] == pytest.approx(
            {
                "R1@0.5": reference.recall(ranked, target, n=1, threshold=0.5),
                "dR1@0.5": reference.discounted_recall(ranked, target, duration, n=1, threshold=0.5),
                "mIoU": reference.mean_iou(ranked, target),
            }
        )


def test_trivial_rows_by_hand() -> None:
    train = [moment("a", "v", (0.0, 5.0)), moment("b", "v", (0.0, 5.0)), moment("c", "v", (8.0, 10.0))]
    rows = results.trivial_rows(train, [moment("d", "v", (0.0, 8.0)), moment("e", "v", (0.0, 4.0))], METRICS)
    assert rows["whole video"]["metrics"]["mIoU"] == pytest.approx(100 * (0.8 + 0.4) / 2)
    assert rows["best constant, mIoU"]["span"] == [0.0, 0.5]
    assert rows["best constant, mIoU"]["metrics"]["mIoU"] == pytest.approx(100 * (5 / 8 + 4 / 5) / 2)


def test_trivial_rows_wait_for_no_other_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def reached(*_: object, **__: object) -> None:
        raise AssertionError("the other processes are not here")

    monkeypatch.setattr(torch.distributed, "is_available", lambda: True)
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "barrier", reached)
    monkeypatch.setattr(torch.distributed, "all_gather", reached)
    assert results.trivial_rows(TRAIN, TEST, METRICS)["whole video"]["metrics"]["mIoU"] > 0


def test_collect_gathers_everything_as_json(tmp_path: Path) -> None:
    model = nn.Linear(3, 2)
    model.bias.requires_grad_(False)
    stopwatch = results.Stopwatch()
    with stopwatch.time("fit"):
        pass
    collected = results.collect(
        config(),
        split="test",
        pairs=7,
        logged={"test/mIoU": torch.tensor(30.5), "test/R1@0.5": 20.0, "test/reversed": 1.5, "val/mIoU": 99.0},
        train=TRAIN,
        evaluated=TEST,
        model=model,
        compiled=True,
        stopwatch=stopwatch,
    )
    results.write_json(tmp_path / "results.json", collected)
    written = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert written["metrics"] == {"mIoU": 30.5, "R1@0.5": 20.0}
    assert (written["reversed"], written["pairs"], written["seed"], written["model"]) == (1.5, 7, 7, "cpnet")
    assert written["parameters"] == 6
    assert (written["precision"], written["compiled"]) == ("bf16-mixed", True)
    assert written["paper"] == {"R1@0.5": 60.27, "mIoU": 52.0}
    assert written["trivial"] == results.trivial_rows(TRAIN, TEST, METRICS)
    assert written["versions"]["torch"] == torch.__version__
    assert written["versions"]["cpnet-grounding"] == cpnet.__version__
    assert written["device"]
    assert list(written["seconds"]) == ["fit"]
    assert 0 <= written["seconds"]["fit"] < 1


@pytest.mark.parametrize(
    ("split", "name", "paper"), [("val", "cpnet", {}), ("test", "my_model", {"R1@0.5": 60.27, "mIoU": 52.0})]
)
def test_the_papers_numbers_are_those_of_the_test_split(split: str, name: str, paper: dict[str, float]) -> None:
    cfg = config()
    cfg.model_name = name
    collected = results.collect(
        cfg,
        split=split,
        pairs=7,
        logged={"test/mIoU": 1.0, "test/reversed": 0.0},
        train=TRAIN,
        evaluated=TEST,
        model=nn.Linear(1, 1),
        compiled=False,
        stopwatch=results.Stopwatch(),
    )
    assert collected["compiled"] is False
    assert collected["paper"] == paper
    assert collected["paper_model"] == "cpnet"


@pytest.mark.parametrize(
    ("validation", "selection"),
    [
        ("file", "validation split"),
        ("holdout", "10% of the training videos, held out"),
        ("test", "THE TEST SPLIT"),
    ],
)
def test_the_protocol_says_on_what_was_selected(validation: str, selection: str) -> None:
    rules = results.protocol(config(validation=validation), "test")
    assert rules == {
        "dataset": "tiny",
        "split": "test",
        "selection": selection,
        "strict": False,
        "ground_truth": "raw",
        "on_defect": "error",
        "blind": "none",
        "features": "/data/pack.hdf5",
        "sampling": {"_target_": "cpnet.data.sampling.Pick", "clips": 128},
    }
    assert f"checkpoint chosen on {selection}" in table(protocol=rules)


def test_stages_of_one_name_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([10.0, 11.5, 20.0, 20.25])
    monkeypatch.setattr("time.perf_counter", lambda: next(ticks))
    stopwatch = results.Stopwatch()
    for _ in range(2):
        with stopwatch.time("fit"):
            pass
    assert stopwatch.seconds == {"fit": 1.75}


def test_json_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    results.write_json(path, {"query": "café", "value": 1.0})
    before = path.read_text(encoding="utf-8")
    assert json.loads(before) == {"query": "café", "value": 1.0}
    assert "café" in before
    with pytest.raises(TypeError):
        results.write_json(path, {"value": 2.0, "model": nn.Linear(1, 1)})
    assert path.read_text(encoding="utf-8") == before
    assert list(tmp_path.iterdir()) == [path]


def test_the_configuration_is_written_resolved(tmp_path: Path) -> None:
    results.save_config(OmegaConf.create({"root": "/data", "path": "${root}/x"}), tmp_path / "run")
    assert OmegaConf.load(tmp_path / "run" / "config.yaml") == {"root": "/data", "path": "/data/x"}


def test_publish_writes_and_says_where(tmp_path: Path) -> None:
    folder = tmp_path / "[bold]" / "[/]"  # what Rich would take for markup
    folder.mkdir(parents=True)
    console = Console(width=80, record=True, file=io.StringIO())
    shown = {
        "model": "cpnet",
        "metrics": {"mIoU": 33.0},
        "pairs": 1,
        "trivial": {},
        "paper": {},
        "protocol": results.protocol(config(), "test"),
    }
    results.publish(shown, folder, console=console)
    assert json.loads((folder / "results.json").read_text(encoding="utf-8")) == shown
    assert f"outputs: {folder}" in console.export_text().replace("\n", "")


def test_all_rows_are_printed() -> None:
    text = table()
    assert "tiny, test split, 42 pairs (per cent)" in text
    assert "IoU >= m; ground truth raw" in text
    assert cells(text) == [
        ["cpnet", "12.35", "33.00"],
        ["whole video [0, 1]", "1.00", "20.00"],
        ["best constant, mIoU [0.025, 0.4]", "2.50", "22.00"],
        ["the paper's cpnet, as printed there", "-", "52.00"],
    ]
    header = [line for line in text.splitlines() if line.startswith("┃")]
    assert [line.split() for line in header] == [["┃", "┃", "R@1", "┃", "┃"], ["┃", "┃", "IoU=0.5", "┃", "mIoU", "┃"]]


def test_without_the_papers_numbers_there_is_no_such_row() -> None:
    assert "paper" not in table(paper={})


@pytest.mark.parametrize("width", [60, 80])
def test_no_number_is_cut_off(width: int) -> None:
    names = {f"R1@{m}": 10 * m for m in (0.35, 0.55, 0.75)} | {"mIoU": 77.77}
    trivial = {"best constant, R@1,IoU=0.5": {"span": [0.025, 0.225], "metrics": names}}
    text = table(width=width, metrics=names, trivial=trivial)
    assert text.count("77.77") == 2
    assert all(f"IoU={m}" in text for m in (0.35, 0.55, 0.75))
    assert "…" not in text


def test_strict_and_blind_are_said() -> None:
    cfg = config(blind="query")
    cfg.metrics.strict = True
    text = table(protocol=results.protocol(cfg, "test"))
    assert "IoU > m" in text
    assert cells(text)[0][0] == "cpnet, without its query"


@pytest.mark.parametrize("name", ["[bold]", "a[/]b", r"\[red]", "[/x]", "x[link=y]z"])
def test_names_are_text_and_no_markup(name: str) -> None:
    text = table(model=name, protocol=results.protocol(config(name=name), "test"))
    assert cells(text)[0][0] == name
    assert text.startswith(f"{name}, test split")


def test_the_first_process_alone_writes_the_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It clears away parts of files when it begins, and would take another's for one of them."""
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    results.save_config(OmegaConf.create({"seed": 1}), tmp_path)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(rank_zero_only, "rank", 0)
    results.save_config(OmegaConf.create({"seed": 1}), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]
