"""Oracle: an index written by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cpnet.data.moment import DataError
from cpnet.reporting.comparison import compare
from cpnet.reporting.index import index_table, keep, update_index
from reporting.made import config, read, spans, write_run

README = "# Results\nabove\n<!-- results -->\nold\n<!-- /results -->\nbelow\n"
TRUE = spans(12, 100)
HEAD = (
    "| experiment | dataset | row | R@1,IoU=0.3 | R@1,IoU=0.5 | R@1,IoU=0.7 | mIoU | paper's mIoU | seeds | epochs "
    "| commit |\n| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n"
)


def kept(runs: Path, folder: Path, experiment: str | None = "a|b") -> list[str]:
    report = compare(read(runs), experiment=experiment, baseline=None, resamples=100)
    return [path.name for path in keep(report, folder)]


def right(folder: Path, **protocol: str) -> None:
    """Two seeds without a mistake, from two trees."""
    for seed, commit in ((0, "0123456789"), (1, "abcdef0123+changes")):
        cfg = config(model="own", seed=seed)
        write_run(folder / str(seed), cfg=cfg, true=TRUE, predicted=TRUE, git_commit=commit, protocol=protocol)


def test_a_table_is_kept_and_the_index_renewed(tmp_path: Path) -> None:
    right(tmp_path / "runs")
    readme = tmp_path / "experiments/README.md"
    readme.parent.mkdir()
    readme.write_text(README)
    assert kept(tmp_path / "runs", readme.parent / "results") == ["a-b.json", "README.md"]
    line = "| a\\|b | tiny | own | - | 100.00 | - | 100.00 ± 0.00 | 52.00 (cpnet) | 0, 1 | 3 "
    line += "| 0123456, abcdef0+changes |\n"
    expected = README.replace("old\n", f"\n{HEAD}{line}\n")
    assert readme.read_text() == expected
    update_index(readme, readme.parent / "results")
    assert readme.read_text() == expected  # once more changes nothing


def test_a_readme_without_a_place_is_left_alone(tmp_path: Path) -> None:
    right(tmp_path / "runs")
    readme = tmp_path / "README.md"
    readme.write_text("# mine\n")
    assert kept(tmp_path / "runs", tmp_path / "results", experiment=None) == ["runs.json"]
    assert readme.read_text() == "# mine\n"


def test_several_tables_are_several_files(tmp_path: Path) -> None:
    right(tmp_path / "runs/a")
    right(tmp_path / "runs/b", ground_truth="raw")
    right(tmp_path / "runs/c", dataset="other")
    names = kept(tmp_path / "runs", tmp_path / "results", experiment="x")
    assert names == ["x_tiny.json", "x_tiny_2.json", "x_other.json"]
    assert index_table(tmp_path / "results").count("\n| x |") == 3


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"rows": [{}]}'])
def test_a_file_that_is_no_table_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "odd.json").write_text(text)
    with pytest.raises(DataError, match=r"odd\.json: no table that cpnet\.report kept"):
        index_table(tmp_path)


@pytest.mark.parametrize("text", ["", "<!-- /results -->\n<!-- results -->\n", "<!-- results -->\n"])
def test_a_place_without_an_end_is_refused_and_the_readme_left(tmp_path: Path, text: str) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(text)
    with pytest.raises(DataError, match="the index stands between"):
        update_index(readme, tmp_path)
    assert readme.read_text() == text


def test_what_is_kept_is_small_and_reads_back(tmp_path: Path) -> None:
    right(tmp_path / "runs")
    kept(tmp_path / "runs", tmp_path / "results")
    text = (tmp_path / "results/a-b.json").read_text()
    assert len(text) < 10_000
    assert json.loads(text)["experiment"] == "a|b"


def test_rows_of_another_protocol_are_marked(tmp_path: Path) -> None:
    right(tmp_path / "runs", selection="THE TEST SPLIT", ground_truth="raw")
    kept(tmp_path / "runs", tmp_path / "results", experiment="x")
    assert "| x | tiny (CHOSEN ON TEST, raw ground truth) | own |" in index_table(tmp_path / "results")


def test_tables_that_an_experiment_no_longer_has_go(tmp_path: Path) -> None:
    right(tmp_path / "runs/a")
    right(tmp_path / "runs/b", dataset="other")
    kept(tmp_path / "runs", tmp_path / "results", experiment="x")
    kept(tmp_path / "runs", tmp_path / "results", experiment="y")
    (tmp_path / "results/mine.json").write_text("{}")
    kept(tmp_path / "runs/a", tmp_path / "results", experiment="x")
    names = sorted(path.name for path in (tmp_path / "results").iterdir())
    assert names == ["mine.json", "x.json", "y_other.json", "y_tiny.json"]


def test_seeds_and_epochs_are_text_in_the_index(tmp_path: Path) -> None:
    right(tmp_path / "runs")
    path = tmp_path / "results" / kept(tmp_path / "runs", tmp_path / "results")[0]
    content = json.loads(path.read_text())
    content["rows"][0] |= {"seeds": ["<b>"], "epochs": "a|b"}
    path.write_text(json.dumps(content))
    assert r"| \<b\> | a\|b |" in index_table(path.parent)
