"""Features whose means are infinite: their steps are skipped or end the run, and the batch can be looked at again."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from commands import TINY, call

RUN = (
    *(each for each in TINY if each != "trainer=debug"),
    *("trainer=cpu", "trainer.compile=false", "epochs=2", "dataset.validation=test", "callbacks.early_stopping=null"),
)
PAIRS, BATCH = 48, 8  # with validation on test, training has all pairs of its file


@pytest.fixture(scope="module")
def spoiled(place: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[int]]:
    """The corpus with a spoiled video, and the batches that hold it, counted through two epochs of seed 0."""
    folder = tmp_path_factory.mktemp("spoiled")
    shutil.copytree(place / "data", folder / "data")
    lines = (folder / "data/synthetic/charades_sta_train.txt").read_text(encoding="utf-8").splitlines()
    videos = [line.split()[0] for line in lines]
    assert len(videos) == PAIRS
    with h5py.File(folder / "data/synthetic/features.hdf5", "r+", locking=False) as file:
        file[videos[0]][...] = 3e38  # of what is not finite in a file, reading it would tell
    order = [row for epoch in (0, 1) for row in np.random.default_rng([0, epoch]).permutation(PAIRS)]
    return folder, sorted({place // BATCH for place, row in enumerate(order) if videos[row] == videos[0]})


def test_its_steps_are_skipped_and_counted(spoiled: tuple[Path, list[int]]) -> None:
    folder, bad = spoiled
    ended = call("train", *RUN, "hydra.run.dir=run", folder=folder)
    assert ended.code == 0, ended.err
    log = (folder / "run/train.log").read_text(encoding="utf-8")
    for number, batch in enumerate(bad, start=1):
        epoch, within = divmod(batch, PAIRS // BATCH)
        place = f"epoch {epoch}, batch {within}"
        assert f"{place}: the gradients are not finite; the step is skipped, the run's {number}." in log
    with (folder / "run/metrics.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    first = sum(batch < PAIRS // BATCH for batch in bad)
    assert [float(row["train/skipped"]) for row in rows[:2]] == [first, len(bad)]
    assert all(np.isfinite(float(row[f"{split}/loss"])) for row in rows[:2] for split in ("train", "val"))


@pytest.fixture(scope="module")
def ended_by_it(spoiled: tuple[Path, list[int]]) -> tuple[Path, str]:
    """The folder and what a run said that may not skip a step."""
    folder, _ = spoiled
    ended = call("train", *RUN, "callbacks.non_finite.limit=1", "seed=0", "hydra.run.dir=limited", folder=folder)
    assert ended.code == 1
    return folder, ended.err


def test_too_many_end_the_run(ended_by_it: tuple[Path, str], spoiled: tuple[Path, list[int]]) -> None:
    folder, said = ended_by_it
    assert f"epoch 0, batch {spoiled[1][0]}: 1 steps in a row had gradients that are not finite" in said
    assert f"python -m cpnet.train replay={folder}/limited/non_finite.ckpt" in said
    assert "Traceback" not in said


def test_the_batch_is_looked_at_again(ended_by_it: tuple[Path, str]) -> None:
    folder, _ = ended_by_it
    ended = call("train", "replay=limited/non_finite.ckpt", folder=folder, environment={"COLUMNS": "200"})
    assert ended.code == 0, ended.err
    video = (folder / "data/synthetic/charades_sta_train.txt").read_text(encoding="utf-8").split()[0]
    found = [line.strip(" │|") for line in ended.out.splitlines() if "not finite" in line]
    assert any(line.startswith(f"process 0, features of video {video} (qid {video}:") for line in found)
    parts = [line for line in found if ", output of " in line]
    assert parts[0].startswith("process 0, output of model.")
    assert found.index(parts[0]) > max(place for place, line in enumerate(found) if "features of" in line)
    assert not (folder / "outputs" / "checkpoints").exists()


def test_each_batch_of_a_step_is_looked_at_again(spoiled: tuple[Path, list[int]]) -> None:
    folder, bad = spoiled
    together = next(number for number in (2, 3, 6) if bad[0] % number != number - 1)  # not the step's last batch
    added = (f"trainer.accumulate_grad_batches={together}", "callbacks.non_finite.limit=1", "hydra.run.dir=added")
    assert call("train", *RUN, *added, "seed=0", folder=folder).code == 1
    ended = call("train", "replay=added/non_finite.ckpt", folder=folder, environment={"COLUMNS": "200"})
    assert ended.code == 0, ended.err
    assert f"process 0, batch {bad[0]}, features of video " in ended.out


def test_what_cannot_be_replayed_is_refused(ended_by_it: tuple[Path, str], place: Path) -> None:
    folder, _ = ended_by_it
    ended = call("train", f"replay={place}/run/checkpoints/best.ckpt", folder=place)
    assert ended.code == 1
    assert "best.ckpt has no batch to replay; a run leaves one in its folder as non_finite.ckpt" in ended.err
    ended = call("train", "replay=limited/non_finite.ckpt", "dataset.validation=holdout", folder=folder)
    assert ended.code == 1
    assert "the corpus gives other pairs than the run had; is it the same?" in ended.err
