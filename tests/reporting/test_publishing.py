"""Oracle: an index written by hand."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from rich.console import Console

from cpnet.errors import DataError
from cpnet.reporting.figures import tables
from cpnet.reporting.keeping import draw, index_table, keep, update_index
from cpnet.reporting.publishing import publish, report_json
from cpnet.reporting.tables import Table
from reporting.made import COMMIT, compared, config, spans, write_run

README = "# Results\nabove\n<!-- results -->\nold\n<!-- /results -->\nbelow\n"
TRUE = spans(12, 100)
HEAD = (
    "| experiment | dataset | row | R@1,IoU=0.3 | R@1,IoU=0.5 | R@1,IoU=0.7 | R@5,IoU=0.5 | mIoU | paper's mIoU "
    "| parameters (M) | GFLOP a pair | training (CPU min) | seeds | epochs | commit |\n"
    "| --- | --- | --- |" + " ---: |" * 12 + "\n"
)


def kept(runs: Path, folder: Path, experiment: str | None = "a|b") -> list[str]:
    return [path.name for path in keep(compared(runs, experiment=experiment), folder) if path.suffix != ".png"]


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep tables without pictures, which take a second each."""
    monkeypatch.setattr("cpnet.reporting.keeping.draw", lambda table: [])


def write_perfect(folder: Path, **protocol: str) -> None:
    """Write two seeds without errors, of two commits."""
    for seed, commit in ((0, "0123456789"), (1, "abcdef0123+changes")):
        cfg = config(model="own", seed=seed)
        write_run(folder / str(seed), cfg=cfg, true=TRUE, predicted=TRUE, git_commit=commit, protocol=protocol)


def test_keep_writes_the_table_and_updates_the_index(tmp_path: Path) -> None:
    write_perfect(tmp_path / "runs")
    readme = tmp_path / "experiments/README.md"
    readme.parent.mkdir()
    readme.write_text(README)
    page = tmp_path / "docs/models.md"
    page.parent.mkdir()
    page.write_text("# M\n<!-- results compare_* -->\n<!-- /results -->\n")
    assert kept(tmp_path / "runs", readme.parent / "results", "compare_x") == ["compare_x.json", "README.md", page.name]
    assert "\n![compare_x](../experiments/results/compare_x.png)\n" in page.read_text()
    for name in ("compare_x.json", "compare_x.png", "compare_x+groups.png"):
        (readme.parent / "results" / name).unlink()
    assert kept(tmp_path / "runs", readme.parent / "results") == ["a-b.json", "README.md", page.name]
    assert page.read_text() == f"# M\n<!-- results compare_* -->\n\n{HEAD}\n<!-- /results -->\n"
    line = "| a\\|b | tiny | own | - | 100.00 | - | - | 100.00 ± 0.00 | 52.00 (cpnet) | 0.0012 | - | - | 0, 1 | 3 "
    line += "| 0123456, abcdef0+changes |\n"
    expected = README.replace(
        "old\n", f"\n{HEAD}{line}\n![a-b](results/a-b.png)\n\n![a-b+groups](results/a-b+groups.png)\n\n"
    )
    with Image.open(readme.parent / "results/a-b.png") as picture:
        assert picture.width > 300
    assert readme.read_text() == expected
    assert update_index(readme, readme.parent / "results")
    assert readme.read_text() == expected


@pytest.mark.parametrize("text", ["", "# mine\n", "<!-- /results -->\n<!-- results -->\n", "<!-- results -->\n"])
def test_a_readme_without_both_markers_is_unchanged(tmp_path: Path, text: str) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(text)
    assert not update_index(readme, tmp_path)
    assert readme.read_text() == text
    assert not update_index(tmp_path / "missing.md", tmp_path)


def test_pictures_of_a_page_are_those_of_its_tables(tmp_path: Path) -> None:
    write_run(tmp_path / "runs/0", cfg=config(novelty=r"$\bad$"), true=TRUE)
    write_run(tmp_path / "runs/1", cfg=config(novelty="y"), true=TRUE)
    report = compared(tmp_path / "runs", experiment="x_small")
    files = [path.name for path in keep(report, tmp_path / "kept")]
    assert files == ["x_small.json", "x_small.png", "x_small+groups.png"]
    (tmp_path / "kept/gone.png").touch()
    page = tmp_path / "page.md"
    page.write_text("<!-- results *_small -->\n<!-- /results -->\n")
    assert update_index(page, tmp_path / "kept")
    assert [line for line in page.read_text().splitlines() if line.startswith("!")] == [
        "![x_small](kept/x_small.png)",
        "![x_small+groups](kept/x_small+groups.png)",
    ]
    content = json.loads((tmp_path / "kept/x_small.json").read_text())
    wrong: list[dict[str, Any]] = [{"rows": []}, {"groups": {"rows": {}, "constant": {}}}, {"groups": []}]
    for changes in wrong:
        (tmp_path / "kept/x_small.json").write_text(json.dumps(content | changes))
        with pytest.raises(DataError, match=r"x_small\.json is not a table of cpnet\.report"):
            draw(tmp_path / "kept/x_small.json")


@pytest.mark.usefixtures("undrawn")
def test_each_table_gets_a_file(tmp_path: Path) -> None:
    write_perfect(tmp_path / "runs/a")
    write_perfect(tmp_path / "runs/b", ground_truth="raw", selection="test")
    write_perfect(tmp_path / "runs/c", dataset="other")
    names = kept(tmp_path / "runs", tmp_path / "results", experiment="x")
    assert names == ["x_tiny.json", "x_tiny_2.json", "x_other.json"]
    lines = [line for line in index_table(tmp_path / "results").splitlines() if line.startswith("| x |")]
    assert [line.split(" | ")[1] for line in lines] == ["other", "tiny", "tiny (CHOSEN ON TEST, ground_truth=raw)"]


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"rows": [{}]}'])
def test_a_file_that_is_not_a_table_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "odd.json").write_text(text)
    with pytest.raises(DataError, match=r"odd\.json is not a table of cpnet\.report"):
        index_table(tmp_path)


@pytest.mark.usefixtures("undrawn")
def test_values_of_a_kept_file_are_escaped(tmp_path: Path) -> None:
    write_perfect(tmp_path / "runs")
    path = tmp_path / "results" / kept(tmp_path / "runs", tmp_path / "results")[0]
    content = json.loads(path.read_text())
    content["rows"][0] |= {"seeds": ["<b>"], "epochs": "a|b"}
    path.write_text(json.dumps(content))
    assert r"| \<b\> | a\|b |" in index_table(path.parent)


@pytest.mark.usefixtures("undrawn")
def test_a_row_shared_by_several_experiments_is_printed_once(tmp_path: Path) -> None:
    for name, other in (("a", 1), ("b", 2)):
        write_run(tmp_path / name / "0", cfg=config(), true=TRUE)
        write_run(tmp_path / name / "1", cfg=config(model__pyramid_levels=other), true=TRUE, predicted=spans(12, other))
        kept(tmp_path / name, tmp_path / "results", experiment=name)
    rows = [line.split(" | ")[:3] for line in index_table(tmp_path / "results").splitlines()[2:]]
    assert rows == [
        ["| 2 experiments", "tiny", "model.pyramid_levels=3"],
        ["| a", "tiny", "model.pyramid_levels=1"],
        ["| b", "tiny", "model.pyramid_levels=2"],
    ]


@pytest.mark.usefixtures("undrawn")
def test_a_kept_table_has_everything_except_paths_of_the_machine(tmp_path: Path) -> None:
    for seed in (0, 1):
        write_run(tmp_path / f"runs/{seed}", cfg=config(seed=seed, novelty="x"))
    write_run(tmp_path / "runs/2", cfg=config(novelty="/home/me/y"))
    (write_run(tmp_path / "runs/3") / "predictions.jsonl").unlink()
    report = compared(tmp_path / "runs", experiment="levels")
    text = keep(report, tmp_path / "kept")[0].read_text()
    content = json.loads(text)
    first = content["rows"][0]
    assert (first["seeds"], first["parameters"], first["epochs"]) == ([0, 1], 1234, 3)
    assert first["commits"] == [COMMIT]
    assert first["validation"] == [{"monitor": "val/mIoU", "score": 30.0, "epoch": 1}] * 2
    estimate = report.tables[0].rows[0].estimates["mIoU"]
    assert first["metrics"]["mIoU"]["values"] == pytest.approx(estimate.values, abs=1e-4)
    assert content["protocol"]["selection"] == "holdout"
    assert content["resamples"] == 200
    assert not [path for path in ('"/', "/home", str(tmp_path)) if path in text]
    whole: dict[str, Any] = report_json(report)
    assert whole["tables"][0]["folders"]["novelty=x"] == [str(tmp_path / f"runs/{job}") for job in (0, 1)]
    assert f"{tmp_path / 'runs/3'}: " in whole["remarks"]["left out: 1 folders"][0]


def draw_quickly(table: Table, folder: Path, *, prefix: str) -> dict[str, str]:
    (folder / f"{prefix}recall.png").touch()
    return {"recall": f"{prefix}recall.png"}


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("text", ["../../x", "/etc/x", "..", "a\0b", "a\nb", "x" * 5000, "é" * 300, "CON", "-rf", ""])
def test_names_are_never_paths(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "draw", draw_quickly)
    for number, novelty in enumerate((text, "other")):
        write_run(tmp_path / f"runs/{number}", cfg=config(model=text, novelty=novelty, dataset__name=text))
    write_run(tmp_path / "runs/2", protocol={"dataset": "plain"})
    report = compared(tmp_path / "runs", experiment=text)
    place = tmp_path / "a/b/report"
    publish(report, place, kept=tmp_path / "a/b/kept", console=Console(file=io.StringIO()))
    made = {path for path in tmp_path.rglob("*") if path.is_file() and tmp_path / "runs" not in path.parents}
    assert {path.parent for path in made} == {place, tmp_path / "a/b/kept"}
