"""Run every command of ``docs/own-data.md``, in its order, in an empty folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from commands import read_json
from pages import blocks, lines, run

PAGE = "docs/own-data.md"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder in which all commands of the page have run."""
    folder = tmp_path_factory.mktemp("own")
    (yaml,) = blocks(PAGE, "yaml")
    (folder / "conf/dataset").mkdir(parents=True)
    (folder / "conf/dataset/my_data.yaml").write_text(yaml, encoding="utf-8")
    commands = lines(PAGE, "sh")
    assert len(commands) == 5
    for line in commands:
        run(line, "trainer.enable_progress_bar=false", folder=folder)
    return folder


@pytest.mark.slow
def test_model_of_the_page_has_learnt(folder: Path) -> None:
    results = read_json(folder / "outputs/my_data/results.json")
    best = max(row["metrics"]["mIoU"] for row in results["trivial"].values())
    assert results["metrics"]["mIoU"] > best + 5
    assert results["pairs"] == 108  # 3 queries on each of a fifth of 180 videos


@pytest.mark.slow
def test_training_reads_the_packed_store(folder: Path) -> None:
    assert "features.packed (packed, float16, 180 videos" in (folder / "outputs/my_data/train.log").read_text("utf-8")


@pytest.mark.slow
def test_new_query_has_an_answer(folder: Path) -> None:
    answer = read_json(folder / "new.json")
    ((start, end, _),) = answer["pred_relevant_windows"]
    assert (answer["qid"], answer["vid"]) == (1, "video_00001")
    assert 0 <= start < end <= 60


def test_example_line_can_be_read(tmp_path: Path) -> None:
    from cpnet.data.readers import read_jsonl

    (line,) = blocks(PAGE, "json")
    (tmp_path / "one.jsonl").write_text(line, encoding="utf-8")
    (moment,) = read_jsonl(annotations=tmp_path / "one.jsonl")
    assert (moment.video, moment.windows_sec) == ("kitchen_07", ((4.0, 9.5),))


def test_yaml_is_short() -> None:
    (yaml,) = blocks(PAGE, "yaml")
    assert len([line for line in yaml.splitlines() if line.strip()]) <= 20
