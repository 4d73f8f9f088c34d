"""Oracles: loops over written predictions, and the points of the picture."""

from __future__ import annotations

import csv
import io
import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from cpnet.errors import DataError
from cpnet.evaluation.trivial import BEST_MIOU
from cpnet.reporting.breakdown import Broken
from cpnet.reporting.documents import to_breakdown_csv, to_markdown
from cpnet.reporting.figures import breakdown
from evaluation import reference
from reporting.made import compared, config, read, spans, write_run

TRUE = spans(40, 100)
LENGTH = "moment length (share of video)"


def groups() -> dict[str, list[int]]:
    """Return the pairs of each group of moment lengths; all videos have ten seconds."""
    edges, found = (0, 0.05, 0.1, 0.2, 0.3, 0.5, 2), dict[str, list[int]]()
    for low, high in pairwise(edges):
        name = f"< {high}" if low == 0 else f">= {low}" if high == 2 else f"{low} to {high}"
        found[name] = [pair for pair, (start, end) in enumerate(TRUE) if low <= (end - start) / 10 < high]
    return {name: pairs for name, pairs in found.items() if pairs}


def write(folder: Path) -> None:
    for variant in (0, 1):
        for seed in (0, 1):
            cfg = config(seed=seed, novelty=f"$a|{variant}")
            write_run(folder / f"{variant}/{seed}", cfg=cfg, predicted=spans(40, 10 * variant + seed), true=TRUE)


def test_rows_are_means_over_seeds_beside_the_constant(tmp_path: Path) -> None:
    write(tmp_path)
    report = compared(tmp_path)
    broken = report.tables[0].broken
    assert "rarest word (training queries)" not in broken.rows["novelty=$a|0"]  # files without it
    records = [*csv.DictReader(io.StringIO(to_breakdown_csv(report)))]
    for name, pairs in groups().items():
        for row, predictors in {
            **{f"novelty=$a|{v}": [spans(40, 10 * v + seed) for seed in (0, 1)] for v in (0, 1)},
            BEST_MIOU: [np.tile([0.0, 5.0], (40, 1))],
        }.items():
            ious = [reference.iou(each[pair], TRUE[pair]) for each in predictors for pair in pairs]
            group = {**broken.rows, **broken.constant}[row][LENGTH][name]
            assert group.pairs == len(pairs)
            assert group.metrics["mIoU"][0] == pytest.approx(100 * np.mean(ious), abs=0.01)
            keys = {"row": row, "attribute": LENGTH, "group": name, "metric": "mIoU"}
            (record,) = [each for each in records if keys.items() <= each.items()]
            assert (float(record["mean"]), float(record["high"])) == (
                group.metrics["mIoU"][0],
                group.metrics["mIoU"][2],
            )
    assert not any(record["metric"].startswith("dR") for record in records)
    again = Broken.of(json.loads(json.dumps(broken.mean_ious())))
    for kind, rows in (("rows", again.rows), ("constant", again.constant)):
        for row, attributes in getattr(broken, kind).items():
            for attribute, of in attributes.items():
                for name, group in of.items():
                    same = rows[row][attribute][name]
                    assert (same.pairs, same.metrics["mIoU"]) == (group.pairs, tuple(group.metrics["mIoU"]))
    assert ([*again.rows], [*again.constant]) == ([*broken.rows], [BEST_MIOU])
    assert "| mIoU by " in to_markdown(report, [{}])
    assert "novelty=$a\\|0" in to_markdown(report, [{}]).replace("\\$", "$")


def test_points_are_the_means_of_groups_of_ten_pairs_or_more(tmp_path: Path) -> None:
    write(tmp_path)
    broken = compared(tmp_path).tables[0].broken
    axes = breakdown.figure(broken).axes[0]
    assert axes.get_title() == LENGTH
    assert [label.get_text() for label in axes.get_xticklabels()] == [f"{k}\n{len(v)}" for k, v in groups().items()]
    for line, rows in zip(axes.lines, (*broken.constant.values(), *broken.rows.values()), strict=True):
        expected = [each.metrics["mIoU"][0] for each in rows[LENGTH].values() if each.pairs >= 10]
        assert np.asarray(line.get_ydata()).tolist() == expected
    assert 0 < len(expected) < len(groups())


def test_predictions_that_change_while_they_are_read_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_run(tmp_path / "run")
    gathered = read(tmp_path)
    path = tmp_path / "run/predictions.jsonl"
    path.write_text("".join(f"{line}\n" for line in path.read_text().splitlines()[:-1]))
    monkeypatch.setattr("reporting.made.gather", lambda *roots, **keys: gathered)
    with pytest.raises(DataError, match=r"predictions\.jsonl has changed meanwhile; make the report again"):
        compared(tmp_path)


def test_counts_of_training_queries_are_read(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", true=TRUE)
    path = folder / "predictions.jsonl"
    rows = [json.loads(line) | {"rarest": pair % 3} for pair, line in enumerate(path.read_text().splitlines())]
    path.write_text("\n".join(map(json.dumps, rows)))
    (broken,) = compared(tmp_path).tables[0].broken.rows.values()
    assert {name: each.pairs for name, each in broken["rarest word (training queries)"].items()} == {
        "0": 14,
        "1 to 9": 26,
    }
