"""Oracle: numbers of the tables read back by the standard library's readers, and a list of a spreadsheet's formulas."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest

from cpnet.reporting.comparison import compare
from cpnet.reporting.exports import report_json, table_json, to_csv
from cpnet.reporting.tables import Report
from reporting.made import COMMIT, config, read, write_run


def made(folder: Path) -> Report:
    for seed in (0, 1):
        write_run(folder / f"runs/{seed}", cfg=config(model="=cmd()", seed=seed, novelty="x"))
    write_run(folder / "runs/2", cfg=config(model="-risky", novelty="/home/me/x"))
    (write_run(folder / "runs/3") / "predictions.jsonl").unlink()
    return compare(read(folder / "runs"), experiment="levels", baseline=None, resamples=200)


def strings(node: Any) -> list[str]:
    if isinstance(node, dict):
        return [text for key, value in node.items() for text in (key, *strings(value))]
    if isinstance(node, list | tuple):
        return [text for value in node for text in strings(value)]
    return [node] if isinstance(node, str) else []


def test_csv_has_the_numbers_of_the_table(tmp_path: Path) -> None:
    report = made(tmp_path)
    lines = list(csv.DictReader(io.StringIO(to_csv(report))))
    assert [line["kind"] for line in lines] == ["runs", "runs", "trivial", "trivial", "paper"]
    row = report.tables[0].rows[1]
    estimate = row.estimates["dR1@0.5"]
    assert estimate.difference is not None
    found = [lines[1][f"dR@1,IoU@0.5 {part}"] for part in ("mean", "sd", "low", "high", "difference")]
    assert [float(text) if text else None for text in found] == [
        *(estimate.mean, None, estimate.low, estimate.high, estimate.difference.mean)
    ]
    assert (lines[0]["seeds"], lines[0]["parameters"], lines[0]["epochs"]) == ("2", "1234", "3")
    assert (lines[-1]["row"], lines[-1]["mIoU mean"], lines[-1]["dR@1,IoU@0.5 mean"]) == (
        "the paper's cpnet",
        "52.0",
        "",
    )


def test_no_text_of_the_csv_is_a_formula_and_numbers_stay_numbers(tmp_path: Path) -> None:
    report = made(tmp_path)
    rows = list(csv.reader(io.StringIO(to_csv(report))))
    texts = [cell for row in rows for cell in row if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]
    for text in texts:
        assert float(text) < 0
    assert [row[10] for row in rows[1:3]] == ["'=cmd()", "'-risky"]
    assert texts  # some difference is negative


def test_a_kept_table_has_everything_but_the_machine(tmp_path: Path) -> None:
    report = made(tmp_path)
    content = json.loads(json.dumps(table_json(report.tables[0], report)))
    first = content["rows"][0]
    assert (first["seeds"], first["parameters"], first["epochs"]) == ([0, 1], 1234, 3)
    assert first["commits"] == [COMMIT]
    assert first["validation"] == [{"monitor": "val/mIoU", "score": 30.0, "epoch": 1}] * 2
    assert first["metrics"]["mIoU"]["values"] == list(report.tables[0].rows[0].estimates["mIoU"].values)
    assert content["protocol"]["features"] == "pack.hdf5"
    assert content["resamples"] == 200
    assert content["rows"][1]["name"] == "-risky"
    for text in strings(content):
        assert not text.startswith("/")
        assert "/home" not in text
        assert str(tmp_path) not in text


def test_the_report_itself_says_where_runs_lie(tmp_path: Path) -> None:
    content = json.loads(json.dumps(report_json(made(tmp_path))))
    assert content["tables"][0]["rows"][0]["folders"] == [str(tmp_path / f"runs/{job}") for job in (0, 1)]
    assert content["left_out"][0]["folder"] == str(tmp_path / "runs/3")


@pytest.mark.parametrize("path", ["/a/b/pack.hdf5", "C:\\a\\pack.hdf5", "data/pack.hdf5", "pack.hdf5"])
def test_of_features_only_the_file_is_kept(tmp_path: Path, path: str) -> None:
    write_run(tmp_path / "0", cfg=config(dataset__features__path=path))
    (table,) = compare(read(tmp_path), experiment=None, baseline=None, resamples=100).tables
    assert table.protocol["features"] == "pack.hdf5"


@pytest.mark.parametrize("name", ["=1", "+1", "-1", "@sum", "=a, b"])
def test_a_name_is_no_formula(tmp_path: Path, name: str) -> None:
    write_run(tmp_path / "0", cfg=config(model=name))
    report = compare(read(tmp_path), experiment=None, baseline=None, resamples=100)
    assert next(csv.DictReader(io.StringIO(to_csv(report))))["row"] == f"'{name}"


def test_a_name_is_no_formula_where_a_semicolon_ends_a_cell(tmp_path: Path) -> None:
    write_run(tmp_path / "0", cfg=config(model="a; =1+1;@sum"))
    report = compare(read(tmp_path), experiment=None, baseline=None, resamples=100)
    text = to_csv(report)
    assert "a;' =1+1;'@sum" in text
    assert not [
        cell for line in csv.reader(io.StringIO(text), delimiter=";") for cell in line if re.match(r"\s*[=@]", cell)
    ]
