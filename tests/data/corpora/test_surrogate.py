"""Oracle: values of the script that made the features of the recorded experiments."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from commands import call
from cpnet.data.corpora.surrogate import ActionsOfVideo, draw_scores, read_actions, write_action_scores
from cpnet.errors import DataError

TRAIN = "id,subject,length,actions\nAAAAA,x,4.2,c092 1.00 3.00;c001 0.00 2.50\n"
TEST = "id,subject,length,actions\nBBBBB,y,0.3,\n"
# make_charades_action_features.py --rate 2.0 --seed 5 on these two tables: classes 0, 92, 156
SCRIPT = {
    "AAAAA": [
        [0.98681640625, 1.373046875, -0.485107421875],
        [0.50830078125, 1.650390625, 0.4541015625],
        [-0.0810546875, 1.82421875, -0.10577392578125],
        [0.388427734375, 3.46484375, 0.7861328125],
        [-0.4150390625, 3.853515625, 0.1871337890625],
        [-1.06640625, 1.8955078125, 0.34912109375],
        [0.08575439453125, 0.84765625, -0.1640625],
        [-0.78125, -0.1588134765625, 0.489990234375],
        [-0.64990234375, 0.287353515625, 0.1727294921875],
    ],
    "BBBBB": [[1.251953125, -0.435791015625, -0.309814453125], [1.4755859375, -0.83447265625, 0.033843994140625]],
}


@pytest.fixture
def tables(tmp_path: Path) -> list[Path]:
    (tmp_path / "charades_sta").mkdir()
    for split, text in (("train", TRAIN), ("test", TEST)):
        (tmp_path / "charades_sta" / f"Charades_v1_{split}.csv").write_text(text)
    return [tmp_path / "charades_sta" / f"Charades_v1_{split}.csv" for split in ("train", "test")]


def test_scores_equal_those_of_the_script(tables: list[Path], tmp_path: Path) -> None:
    assert write_action_scores(tmp_path / "new/scores.hdf5", tables, rate=2.0, seed=5) == 2
    with h5py.File(tmp_path / "new/scores.hdf5") as file:
        assert {video: data.shape for video, data in file.items()} == {"AAAAA": (9, 157), "BBBBB": (2, 157)}
        assert dict(file.attrs) == {"rate": 2.0, "seed": 5, "classes": 157}
        for video, rows in SCRIPT.items():
            assert file[video].dtype == np.float16
            np.testing.assert_allclose(file[video][:, [0, 92, 156]], rows, atol=2e-3)


def test_scores_depend_only_on_seed_and_id(tables: list[Path], tmp_path: Path) -> None:
    for name, order, seed in (("both", tables, 0), ("one", tables[1:], 0), ("other", tables, 1)):
        write_action_scores(tmp_path / name, order, seed=seed)
    both, one, other = (np.asarray(h5py.File(tmp_path / name)["BBBBB"]) for name in ("both", "one", "other"))
    np.testing.assert_array_equal(both, one)
    assert not np.array_equal(both, other)


def test_action_scores_higher_during_its_interval() -> None:
    """Detected in 85 % of the videos, with a mean strength of exp(1 + 0.4 ** 2 / 2)."""
    video = ActionsOfVideo("V", 40.0, ((7, 10.0, 30.0),))
    scores = [draw_scores(video, rate=3.0, rng=np.random.default_rng(seed))[:, 7] for seed in range(400)]
    gains = [each[36:84].mean() - np.delete(each, slice(24, 96)).mean() for each in scores]
    assert np.mean(gains) == pytest.approx(0.85 * np.exp(1.08), abs=0.15)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("AAAAA,4.2,c157 1 2", r"line 2: expected an action such as 'c092 11\.90 21\.20', found 'c157 1 2'"),
        ("AAAAA,4.2,c001 1", r"line 2: expected an action"),
        ("AAAAA,4.2,c001 one 2", r"line 2: 'time' must be a number"),
        ("AAAAA,,c001 1 2", r"line 2: 'length' must be"),
        ("AAAAA,0,c001 1 2", r"line 2: 'length' must be"),
        ("AAAAA,1,,surplus", r"line 2: more values than columns"),
    ],
)
def test_damaged_row_is_refused_with_its_line(row: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text(f"id,length,actions\n{row}\n")
    with pytest.raises(DataError, match=message):
        read_actions(tmp_path / "table.csv")


def test_command_writes_the_features_of_the_dataset(tables: list[Path], tmp_path: Path) -> None:
    command = ("dataset=charades_sta_actions", "action=surrogate", f"data_dir={tmp_path}", "hydra.run.dir=run")
    ended = call("prepare", *command, folder=tmp_path)
    path = tmp_path / "charades_sta/charades_actions.hdf5"
    assert (ended.code, ended.out) == (0, f"wrote scores of 2 videos to {path}\n")
    with h5py.File(path) as file:
        assert sorted(file) == ["AAAAA", "BBBBB"]
    again = call("prepare", *command, folder=tmp_path, code=1)
    assert f"{path} exists already" in again.err


def test_missing_annotations_are_listed_with_their_publisher(tmp_path: Path) -> None:
    ended = call("prepare", "dataset=charades_sta_actions", "action=surrogate", folder=tmp_path, code=1)
    assert "2 of the 2 files" in ended.err
    assert "override   dataset.splits.test.durations=PATH" in ended.err


def test_command_refuses_a_dataset_with_published_features(tmp_path: Path) -> None:
    ended = call("prepare", "dataset=charades_sta", "action=surrogate", folder=tmp_path, code=1)
    assert "action=surrogate is for dataset=charades_sta_actions; the features of dataset=charades_sta are" in ended.err
    assert "published with LGI" in ended.err
