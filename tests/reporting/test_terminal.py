"""Oracle: tables written by hand."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from cpnet.evaluation.protocol import Selection
from cpnet.evaluation.trivial import Trivial
from cpnet.reporting.tables import Estimate
from cpnet.reporting.terminal import print_report, print_results
from reporting.made import compared, config, results, write_run

RESULTS = results(config(), metrics={"R1@0.5": 12.345, "dR1@0.5": 11.0, "mIoU": 33.0}, paper={"mIoU": 52.0}, pairs=42)


def table(*, width: int = 80, protocol: dict[str, Any] | None = None, **changes: Any) -> str:
    changes["protocol"] = replace(RESULTS.protocol, **(protocol or {}))
    console = Console(width=width, record=True, file=io.StringIO())
    print_results(replace(RESULTS, **changes), console=console)
    return console.export_text()


def cells(text: str, edge: str = "│") -> list[list[str]]:
    return [
        [cell.strip() for cell in line.strip(edge).split(edge)] for line in text.splitlines() if line.startswith(edge)
    ]


def test_table_of_a_run_has_trivial_predictors_and_the_paper() -> None:
    text = table()
    assert text.splitlines()[0].strip() == "tiny, test split, 42 pairs (per cent)"
    assert cells(text, "┃") == [["", "R@1", ""], ["", "IoU=0.5", "mIoU"]]
    assert cells(text) == [
        ["cpnet", "12.35", "33.00"],
        ["whole video [0, 1]", "1.00", "20.00"],
        ["best constant, mIoU [0, 0.5]", "2.50", "22.00"],
        ["the paper's cpnet", "-", "52.00"],
    ]
    assert "paper" not in table(paper={})


@pytest.mark.parametrize("width", [60, 80])
def test_narrow_tables_keep_all_digits(width: int) -> None:
    metrics = {f"R1@{m}": 10 * m for m in (0.35, 0.55, 0.75)} | {"mIoU": 77.77}
    text = table(width=width, metrics=metrics, trivial={"best constant": Trivial(span=(0.025, 0.225), metrics=metrics)})
    assert text.count("77.77") == 2
    assert all(f"IoU={m}" in text for m in (0.35, 0.55, 0.75))
    assert "…" not in text


@pytest.mark.parametrize(
    ("protocol", "words"),
    [
        ({}, "IoU >= m; ground truth clipped\n"),
        ({"strict": True, "on_defect": "drop"}, "IoU > m; ground truth clipped; on_defect=drop\n"),
        ({"missing": {"train": 1234}}, "1,234 train pairs have no features and are dropped\n"),
        ({"missing": {"test": 3}}, " test pairs have no features and count as missed\n"),
        ({"blind": "query"}, "cpnet, without its query"),
        ({"selection": Selection.FILE}, "checkpoint chosen on the validation split"),
        ({"selection": Selection.HOLDOUT}, "checkpoint chosen on 10% of the training videos, held out"),
        ({"selection": Selection.TEST}, "checkpoint chosen on THE TEST SPLIT"),
    ],
)
def test_protocol_is_printed(protocol: dict[str, Any], words: str) -> None:
    assert words in table(protocol=protocol)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        *((name, name) for name in ("[bold]", "a[/]b", r"\[red]", "[/x]", "x[link=y]z")),
        ("\x1b]0;pwned\x07\x9b31m\u202ex", r"\x1b]0;pwned\x07\x9b31m\u202ex"),
    ],
)
def test_names_are_neither_markup_nor_control_sequences(name: str, shown: str) -> None:
    text = table(model=name, protocol={"dataset": name})
    assert cells(text)[0][0] == shown
    assert text.splitlines()[0].strip().startswith(f"{shown}, test split")


@pytest.mark.parametrize("width", [40, 80])
def test_reports_keep_all_names_and_digits(width: int, tmp_path: Path) -> None:
    """Seven metrics of two models, of which one ranks a single span."""
    recalls = [f"R{n}@{m}" for n in (1, 5) for m in (0.3, 0.5, 0.7)]
    for name in ("a_model_w_a_name", "b" * 200):
        write_run(tmp_path / name, cfg=config(model=name))
    report = compared(tmp_path)
    (made,) = report.tables
    estimate = Estimate(55.55, 1.25, 54.0, 56.0, (54.3, 56.8), None)
    ranked, single = made.rows
    rows = (
        replace(ranked, estimates=dict.fromkeys([*recalls, "mIoU"], estimate)),
        replace(single, estimates=dict.fromkeys([*recalls[:3], "mIoU"], estimate) | {"mIoU": single.estimates["mIoU"]}),
    )
    keys = (*recalls[:3], "mIoU", *recalls[3:])
    console = Console(width=width, record=True, file=io.StringIO())
    print_report(replace(report, tables=[replace(made, rows=rows, keys=keys)]), console)
    text = console.export_text()
    assert text.count("55.55 ± 1.25") == 4 + 3 + 3
    assert "…" not in text
    first, second, *_ = text.split("\n\n")
    assert "a_model_w_a_name" in first
    assert [line.split()[0] for line in second.splitlines() if "55.55" in line] == ["a_model_w_a_name"]
    if width == 80:
        assert max(map(len, f"{first}\n{second}".splitlines())) <= 80
