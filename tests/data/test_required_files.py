"""Oracle: files listed by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cpnet.data.required_files import check_files, default_store, needed_files
from cpnet.errors import DataError


def tiny(folder: Path | str, **changes: object) -> dict[str, Any]:
    """Return a small group; changes are those of word_vectors."""
    return {
        "splits": {
            "train": {"annotations": f"{folder}/train.txt", "durations": f"{folder}/lengths.csv"},
            "val": {"annotations": f"{folder}/val.json"},
            "test": {"annotations": f"{folder}/test.json"},
        },
        "validation": "holdout",
        "published": "example.org/annotations",
        "features": {
            "path": f"{folder}/pack",
            "packed": None,
            "holds": "",
            "dim": 12,
            "published": "example.org/features",
            "concat": [{"path": f"{folder}/flow"}],
        },
        "word_vectors": {"path": f"{folder}/glove.txt", "subset": None, "dim": 5, "published": "example.org/glove"}
        | changes,
    }


def test_lists_each_file_with_key_content_and_publisher(tmp_path: Path) -> None:
    files = [
        (str(file.path.relative_to(tmp_path)), file.key, file.holds, file.published)
        for file in needed_files(tiny(tmp_path))
    ]
    annotations = "example.org/annotations"
    words = "word vectors, 5 wide, in GloVe's text format"
    assert files == [
        ("train.txt", "dataset.splits.train.annotations", "annotations of the train split", annotations),
        ("lengths.csv", "dataset.splits.train.durations", "durations of the train split", annotations),
        ("test.json", "dataset.splits.test.annotations", "annotations of the test split", annotations),
        ("pack", "dataset.features.path", "video features, 12 wide", "example.org/features"),
        ("flow", "dataset.features.concat.0.path", *files[4][2:]),
        ("glove.txt", "dataset.word_vectors.path", words, "example.org/glove"),
    ]
    assert [file[0] for file in files[:-1]] == [
        str(file.path.relative_to(tmp_path)) for file in needed_files(tiny(tmp_path), words_known=True)
    ]


def test_subset_of_words_and_packed_store_replace_the_whole_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    dataset = tiny("~", subset="~/subset.txt")
    for name in ("train.txt", "lengths.csv", "test.json", "subset.txt"):
        (tmp_path / name).touch()
    default_store(dataset["features"]).mkdir()
    check_files("tiny", needed_files(dataset))


def test_folder_without_a_name_has_its_store_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path = tmp_path.resolve()
    (tmp_path / "pack/rgb").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "pack/rgb")
    assert default_store({"path": "."}) == tmp_path / "pack/rgb.packed"
    assert default_store({"path": ".."}) == tmp_path / "pack.packed"
    with pytest.raises(DataError, match="path=/ is the root folder"):
        default_store({"path": "/"})


def test_each_path_of_a_list_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    dataset = tiny(tmp_path)
    alone = default_store(dataset["features"])
    dataset["features"]["path"] = ["~/pack", f"{tmp_path}/other"]
    files = [(file.path, file.key) for file in needed_files(dataset)]
    assert files[3:5] == [(tmp_path / name, "dataset.features.path") for name in ("pack", "other")]
    store = default_store(dataset["features"])
    assert store != alone
    assert store.parent == tmp_path
    for wrong in (None, [], [None], 7, ""):
        dataset["features"]["path"] = wrong
        with pytest.raises(DataError, match=r"dataset\.features\.path must be a path or a list of paths; got"):
            needed_files(dataset)


def test_error_lists_only_missing_files(tmp_path: Path) -> None:
    for name in ("train.txt", "test.json", "glove.txt", "flow"):
        (tmp_path / name).touch()
    with pytest.raises(DataError) as error:
        check_files("tiny", needed_files(tiny(tmp_path)))
    message = str(error.value)
    lines = [line.strip() for line in message.splitlines()]
    assert lines[:9] == [
        "2 of the 6 files that dataset=tiny needs are missing:",
        f"{tmp_path}/lengths.csv",
        "content    durations of the train split",
        "published  example.org/annotations",
        "override   dataset.splits.train.durations=PATH",
        f"{tmp_path}/pack",
        "content    video features, 12 wide",
        "published  example.org/features",
        "override   dataset.features.path=PATH",
    ]
    for part in ("data_dir=PATH", "CPNET_DATA", "dataset=synthetic"):
        assert part in message
