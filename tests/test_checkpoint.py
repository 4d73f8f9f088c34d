"""What goes in comes out, and a file of any other kind is refused without any of its code being run."""

from __future__ import annotations

import io
import os
import pickle
import random
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from torch.optim import Adam
from torch.optim.lr_scheduler import LRScheduler

from corpora import TRAIN, Table, ready, trainer, write_corpus
from cpnet import schedules
from cpnet.checkpoint import CheckpointFiles, load_checkpoint, provenance, read_checkpoint
from cpnet.config import CONFIG_DIR, register_schemas
from cpnet.data.moment import DataError
from cpnet.data.vocabulary import Vocabulary
from cpnet.losses import GroundingLoss
from cpnet.module import GroundingModule


def vocabulary() -> Vocabulary:
    return Vocabulary(("", "<unk>", "door", "été"), torch.tensor([[0.0, 0], [0, 0], [0.1, -2], [3, 4]]))


def content(**changes: Any) -> dict[str, Any]:
    """A checkpoint by hand."""
    ours = {"format": 2, "config": {"seed": 3, "sampling": {"clips": 4}}, "vocabulary": vocabulary().state_dict()}
    return {"cpnet": ours, "state_dict": {"weight": torch.arange(3.0)}, "epoch": 5} | changes


def saved(of: object, folder: Path) -> Path:
    path = folder / "file.ckpt"
    torch.save(of, path)
    return path


def shipped() -> DictConfig:
    register_schemas()
    with initialize_config_dir(version_base="1.3", config_dir=str(CONFIG_DIR)):
        return compose(
            "train",
            overrides=["model_name=cpnet", "experiment_name=null", "output_dir=here", "optimizer.betas=[0.9,0.98]"],
        )


def test_a_checkpoint_comes_back_whole(tmp_path: Path) -> None:
    checkpoint = load_checkpoint(str(saved(content(), tmp_path)))
    assert checkpoint.path == tmp_path / "file.ckpt"
    assert checkpoint.config == {"seed": 3, "sampling": {"clips": 4}}
    assert checkpoint.vocabulary.words == ("", "<unk>", "door", "été")
    assert torch.equal(checkpoint.vocabulary.vectors, vocabulary().vectors)
    assert checkpoint.weights.keys() == {"weight"}
    assert torch.equal(checkpoint.weights["weight"], torch.arange(3.0))
    assert checkpoint.epoch == 5


def test_a_home_folder_is_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(content(), tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load_checkpoint("~/file.ckpt").epoch == 5


def test_provenance_keeps_interpolations_and_the_names_that_only_the_run_knows() -> None:
    name = "${oc.env:CPNET_TEST_UNSET,small}"
    names = {"model_name": name, "experiment_name": None, "run_name": "${model_name}/0"}
    words = vocabulary()
    assert provenance(OmegaConf.create({"root": "/data", "path": "${root}/x"} | names), words) == {
        "format": 2,
        "config": {
            "root": "/data",
            "path": "${root}/x",
            "model_name": "small",
            "experiment_name": None,
            "run_name": "small/0",
        },
        "vocabulary": {"words": list(words.words), "vectors": words.vectors},
    }


@pytest.mark.parametrize("schedule", [schedules.constant, schedules.cosine, schedules.one_cycle])
def test_through_a_trainer(schedule: Callable[..., LRScheduler], tmp_path: Path) -> None:
    datamodule = ready(write_corpus(tmp_path))
    model = Table(torch.rand(len(TRAIN), 2))
    module = GroundingModule(
        model=model,
        loss=GroundingLoss(),
        optimizer=lambda parameters: Adam(parameters, lr=0.01),
        scheduler=schedule,
        provenance=provenance(shipped(), datamodule.vocabulary),
    )
    best = ModelCheckpoint(tmp_path / "checkpoints", filename="best", monitor="val/mIoU", mode="max")
    end = ModelCheckpoint(tmp_path / "checkpoints", filename="end")
    callbacks = [best, end, EarlyStopping("val/mIoU", mode="max")]
    trainer(max_epochs=2, callbacks=callbacks, enable_checkpointing=True).fit(module, datamodule=datamodule)
    for path in (best.best_model_path, end.best_model_path):
        assert torch.serialization.get_unsafe_globals_in_checkpoint(path) == []
    assert load_checkpoint(best.best_model_path).epoch <= 1
    checkpoint = load_checkpoint(end.best_model_path)
    assert checkpoint.epoch == 1
    assert checkpoint.vocabulary.words == datamodule.vocabulary.words
    assert torch.equal(checkpoint.vocabulary.vectors, datamodule.vocabulary.vectors)
    assert torch.equal(checkpoint.weights["model.table"], model.table)
    again = OmegaConf.create(checkpoint.config)
    composed: Any = OmegaConf.to_container(shipped())
    names = {"model_name": "cpnet", "experiment_name": None, "run_name": "synthetic/cpnet/0"}
    assert OmegaConf.to_container(again) == composed | names
    assert OmegaConf.to_container(again.model, resolve=True) == OmegaConf.to_container(shipped().model, resolve=True)


def test_no_file(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.ckpt", tmp_path):
        with pytest.raises(DataError, match=r"there is no checkpoint at .*; a run's best one is OUTPUT_FOLDER"):
            load_checkpoint(path)


@pytest.mark.parametrize("number", [0, 3, "1"])
def test_another_format(number: object, tmp_path: Path) -> None:
    path = saved(content(cpnet=content()["cpnet"] | {"format": number}), tmp_path)
    with pytest.raises(
        DataError, match=rf"has format {number}, this version reads 1 to 2; take the version that wrote it"
    ):
        load_checkpoint(path)


@pytest.mark.parametrize(
    "foreign",
    [
        [1, 2],
        torch.zeros(2),
        {"state_dict": {}, "epoch": 1},
        content(cpnet="ours"),
        content(cpnet={}),
    ],
    ids=["list", "tensor", "another library's", "text", "nothing"],
)
def test_what_another_program_wrote(foreign: object, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"file\.ckpt was not written by cpnet\.train"):
        load_checkpoint(saved(foreign, tmp_path))


@pytest.mark.parametrize("part", ["config", "vocabulary", "state_dict", "epoch"])
def test_a_part_that_is_missing_is_named(part: str, tmp_path: Path) -> None:
    whole = content()
    (whole if part in whole else whole["cpnet"]).pop(part)
    with pytest.raises(DataError, match=rf"file\.ckpt is damaged: it has no {part}"):
        load_checkpoint(saved(whole, tmp_path))


def test_a_vocabulary_that_does_not_fit(tmp_path: Path) -> None:
    state = {"words": ["", "<unk>"], "vectors": torch.zeros(3, 2)}
    with pytest.raises(DataError, match="2 words do not fit vectors"):
        load_checkpoint(saved(content(cpnet=content()["cpnet"] | {"vocabulary": state}), tmp_path))


@pytest.mark.parametrize("data", [b"", b"\x80", b"hello, world\n", b"PK\x03\x04", bytes(1000)])
def test_bytes_that_are_no_checkpoint(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "file.ckpt"
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"file\.ckpt is no checkpoint, or a damaged one \(.+\)"):
        load_checkpoint(path)


def written(of: object) -> bytes:
    stream = io.BytesIO()
    torch.save(of, stream)
    return stream.getvalue()


def test_a_download_that_was_cut_off(tmp_path: Path) -> None:
    whole, path = written(content()), tmp_path / "file.ckpt"
    path.write_bytes(whole)
    load_checkpoint(path)
    for size in range(0, len(whole), len(whole) // 40):
        path.write_bytes(whole[:size])
        with pytest.raises(DataError, match="is no checkpoint, or a damaged one"):
            load_checkpoint(path)


def same(first: object, second: object) -> bool:
    """Whether two checkpoints hold the same, bit by bit."""
    if isinstance(first, dict) and isinstance(second, dict):
        return list(first) == list(second) and all(same(first[key], second[key]) for key in first)
    if isinstance(first, torch.Tensor) and isinstance(second, torch.Tensor):
        return first.dtype == second.dtype and torch.equal(first, second)
    return type(first) is type(second) and first == second


def test_a_bit_that_has_flipped_is_found_or_was_of_no_matter(tmp_path: Path) -> None:
    # Paddings and the times of an archive's parts say nothing; all else has a checksum.
    whole, path, rng = written(content()), tmp_path / "file.ckpt", random.Random(0)
    refused = 0
    for _ in range(300):
        place = rng.randrange(len(whole))
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << rng.randrange(8)]) + whole[place + 1 :])
        try:
            read = read_checkpoint(path)
        except DataError:
            refused += 1
        else:
            assert same(read, content())
    assert refused > 50


def test_every_bit_of_the_weights_counts(tmp_path: Path) -> None:
    weights = torch.full((64,), 1.25)
    whole, path = written(content(state_dict={"weight": weights})), tmp_path / "file.ckpt"
    first = whole.index(weights.numpy().tobytes())
    for place in range(first, first + weights.nbytes):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << place % 8]) + whole[place + 1 :])
        with pytest.raises(DataError, match=r"a damaged one \(the checksum of .* is wrong\)"):
            read_checkpoint(path)


def test_torchs_format_without_checksums_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file.ckpt"
    torch.save(content(), path, _use_new_zipfile_serialization=False)
    with pytest.raises(DataError, match=r"is no checkpoint, or a damaged one \(File is not a zip file\)"):
        load_checkpoint(path)


class Payload:
    """Unpickled, it makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("kind", ["torch", "pickle", "deep"])
def test_code_is_not_run(kind: str, tmp_path: Path) -> None:
    made, path = tmp_path / "made", tmp_path / "file.ckpt"
    payload = Payload(made)
    if kind == "pickle":
        path.write_bytes(pickle.dumps(payload))
    else:
        torch.save(payload if kind == "torch" else content(epoch=payload), path)
    with pytest.raises(DataError, match="is no checkpoint, or a damaged one"):
        load_checkpoint(path)
    assert not made.exists()
    if kind == "pickle":
        pickle.loads(path.read_bytes())
    else:
        torch.load(path, weights_only=False)
    assert made.exists()  # it would have worked


def test_a_write_that_the_system_refuses_leaves_the_older_file_and_says_why(tmp_path: Path) -> None:
    """The system is told to let no file grow beyond 100 kB: torch's own words for it would be 'unexpected pos'."""
    path = tmp_path / "last.ckpt"
    CheckpointFiles().save_checkpoint({"weight": torch.ones(3)}, path)
    before, limits = path.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(
            DataError, match=r"last\.ckpt cannot be written \(File too large\); what was there is as it was"
        ):
            CheckpointFiles().save_checkpoint({"weight": torch.ones(1_000_000)}, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["last.ckpt"]
