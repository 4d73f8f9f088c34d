"""The answer to "what do I need, and where do I get it", for every shipped dataset and for files of one's own."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from cpnet.config import CONFIG_DIR, register_schemas
from cpnet.data.files import NeededFile, check_files, needed_files
from cpnet.data.moment import DataError

DATASETS = sorted(path.stem for path in (CONFIG_DIR / "dataset").glob("*.yaml"))


def group(name: str, folder: Path) -> dict[str, object]:
    """A shipped ``dataset`` group, resolved."""
    register_schemas()
    with initialize_config_dir(version_base="1.3", config_dir=str(CONFIG_DIR)):
        cfg = compose("train", overrides=[f"dataset={name}", f"data_dir={folder}"])
    dataset = OmegaConf.to_container(cfg.dataset, resolve=True)
    assert isinstance(dataset, dict)
    return {str(key): value for key, value in dataset.items()}


def tiny(folder: Path, *, subset: str | None = None) -> dict[str, object]:
    """A group written by hand."""
    return {
        "splits": {
            "train": {"annotations": f"{folder}/train.txt", "durations": f"{folder}/lengths.csv"},
            "test": {"annotations": f"{folder}/test.json"},
        },
        "published": "example.org/annotations",
        "features": {
            "path": f"{folder}/pack",
            "packed": None,
            "holds": "",
            "dim": 12,
            "published": "example.org/features",
        },
        "word_vectors": {"path": f"{folder}/glove.txt", "subset": subset, "dim": 5, "published": "example.org/glove"},
    }


def test_lists_each_file_with_what_it_holds(tmp_path: Path) -> None:
    files = [
        (str(file.path.relative_to(tmp_path)), file.key, file.holds, file.published)
        for file in needed_files(tiny(tmp_path))
    ]
    annotations = "example.org/annotations"
    assert files == [
        ("train.txt", "dataset.splits.train.annotations", "annotations of the train split", annotations),
        ("lengths.csv", "dataset.splits.train.durations", "durations of the train split", annotations),
        ("test.json", "dataset.splits.test.annotations", "annotations of the test split", annotations),
        ("pack", "dataset.features.path", "video features, 12 wide", "example.org/features"),
        ("glove.txt", "dataset.word_vectors.path", "word vectors, 5 wide, in GloVe's text format", "example.org/glove"),
    ]


def test_known_words_need_no_vectors(tmp_path: Path) -> None:
    keys = [file.key for file in needed_files(tiny(tmp_path), words_known=True)]
    assert len(keys) == 4
    assert "dataset.word_vectors.path" not in keys


@pytest.mark.parametrize(("validation", "expected"), [("file", True), ("holdout", False), ("test", False)])
def test_a_validation_file_is_needed_where_it_is_read(validation: str, expected: bool, tmp_path: Path) -> None:
    dataset = tiny(tmp_path)
    splits = dataset["splits"]
    assert isinstance(splits, dict)
    splits["val"] = {"annotations": f"{tmp_path}/val.json"}
    keys = [file.key for file in needed_files(dataset | {"validation": validation})]
    assert ("dataset.splits.val.annotations" in keys) == expected


def test_a_home_folder_is_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert needed_files(tiny(Path("~/corpus")))[0].path == tmp_path / "corpus" / "train.txt"


@pytest.mark.parametrize("name", DATASETS)
def test_shipped_datasets_name_every_file_key_and_publisher(name: str, tmp_path: Path) -> None:
    dataset = group(name, tmp_path)
    files = needed_files(dataset)
    for file in files:
        assert file.path.is_relative_to(tmp_path)
        assert file.holds
        node: object = {"dataset": dataset}
        for part in file.key.split("."):
            assert isinstance(node, dict)
            node = node[part]
        assert node == str(file.path)
    if not dataset["generate"]:
        assert all(file.published for file in files)
    keys = {file.key for file in files}
    assert {"dataset.splits.train.annotations", "dataset.splits.test.annotations", "dataset.features.path"} <= keys
    assert ("dataset.splits.val.annotations" in keys) == (dataset["validation"] == "file")


def test_charades_takes_the_cut_of_glove_instead(tmp_path: Path) -> None:
    (vectors,) = [file for file in needed_files(group("charades_sta", tmp_path)) if "word_vectors" in file.key]
    assert vectors.instead is not None
    assert not vectors.is_there()
    vectors.instead.parent.mkdir(parents=True)
    vectors.instead.touch()
    assert vectors.is_there()


@pytest.mark.parametrize("there", ["glove.txt", "cut.txt"])
def test_either_file_of_vectors_serves(there: str, tmp_path: Path) -> None:
    for name in ("train.txt", "lengths.csv", "test.json", there):
        (tmp_path / name).touch()
    (tmp_path / "pack").mkdir()
    check_files("tiny", needed_files(tiny(tmp_path, subset=f"{tmp_path}/cut.txt")))


def test_the_error_lists_what_is_missing_and_only_that(tmp_path: Path) -> None:
    for name in ("train.txt", "test.json", "glove.txt"):
        (tmp_path / name).touch()
    with pytest.raises(DataError) as error:
        check_files("tiny", needed_files(tiny(tmp_path)))
    message = str(error.value)
    lines = [line.strip() for line in message.splitlines()]
    assert lines[0] == "2 of the 5 files that dataset=tiny needs are not there:"
    assert lines[1:9] == [
        f"{tmp_path}/lengths.csv",
        "holds      durations of the train split",
        "published  example.org/annotations",
        "elsewhere  dataset.splits.train.durations=PATH",
        f"{tmp_path}/pack",
        "holds      video features, 12 wide",
        "published  example.org/features",
        "elsewhere  dataset.features.path=PATH",
    ]
    assert "data_dir=PATH" in message
    assert "CPNET_DATA" in message
    assert "dataset=synthetic" in message


def test_no_files_is_no_error() -> None:
    check_files("nothing", [])


@pytest.mark.parametrize("key", ["splits", "features", "word_vectors"])
def test_a_group_that_is_no_mapping_is_named(key: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"dataset\.{key} must be a mapping; got 'here'"):
        needed_files(tiny(tmp_path) | {key: "here"})


def test_a_folder_or_a_file_will_do(tmp_path: Path) -> None:
    file = NeededFile(path=tmp_path, key="k", holds="h", published="p")
    assert file.is_there()
