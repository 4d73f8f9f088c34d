"""What goes in comes out, and a file of any other kind is refused without any of its code being run."""

from __future__ import annotations

import io
import os
import pickle
import random
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
from cpnet.checkpoint import load_checkpoint, provenance
from cpnet.config import CONFIG_DIR, register_schemas
from cpnet.data.moment import DataError
from cpnet.data.vocabulary import Vocabulary
from cpnet.losses import GroundingLoss
from cpnet.module import GroundingModule


def vocabulary() -> Vocabulary:
    return Vocabulary(("", "<unk>", "door", "été"), torch.tensor([[0.0, 0], [0, 0], [0.1, -2], [3, 4]]))


def content(**changes: Any) -> dict[str, Any]:
    """A checkpoint by hand."""
    ours = {"format": 1, "config": {"seed": 3, "sampling": {"clips": 4}}, "vocabulary": vocabulary().state_dict()}
    return {"cpnet": ours, "state_dict": {"weight": torch.arange(3.0)}, "epoch": 5} | changes


def saved(of: object, folder: Path) -> Path:
    path = folder / "file.ckpt"
    torch.save(of, path)
    return path


def shipped() -> DictConfig:
    register_schemas()
    with initialize_config_dir(version_base="1.3", config_dir=str(CONFIG_DIR)):
        return compose("train", overrides=["model_name=cpnet", "output_dir=here", "optimizer.betas=[0.9,0.98]"])


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


def test_provenance_keeps_interpolations_and_the_models_name() -> None:
    cfg = OmegaConf.create({"root": "/data", "path": "${root}/x", "model_name": "${oc.env:CPNET_TEST_UNSET,small}"})
    words = vocabulary()
    assert provenance(cfg, words) == {
        "format": 1,
        "config": {"root": "/data", "path": "${root}/x", "model_name": "small"},
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
    assert OmegaConf.to_container(again) == OmegaConf.to_container(shipped())
    assert OmegaConf.to_container(again.model, resolve=True) == OmegaConf.to_container(shipped().model, resolve=True)


def test_no_file(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.ckpt", tmp_path):
        with pytest.raises(DataError, match=r"there is no checkpoint at .*; a run's best one is OUTPUT_FOLDER"):
            load_checkpoint(path)


@pytest.mark.parametrize("number", [0, 2, "1"])
def test_another_format(number: object, tmp_path: Path) -> None:
    path = saved(content(cpnet=content()["cpnet"] | {"format": number}), tmp_path)
    with pytest.raises(DataError, match=rf"has format {number}, this version reads 1; take the version that wrote it"):
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


@pytest.mark.parametrize("zipped", [True, False])
def test_a_download_that_was_cut_off(zipped: bool, tmp_path: Path) -> None:
    stream = io.BytesIO()
    torch.save(content(), stream, _use_new_zipfile_serialization=zipped)
    whole, path = stream.getvalue(), tmp_path / "file.ckpt"
    path.write_bytes(whole)
    load_checkpoint(path)
    for size in range(0, len(whole), len(whole) // 40):
        path.write_bytes(whole[:size])
        with pytest.raises(DataError, match="is no checkpoint, or a damaged one"):
            load_checkpoint(path)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("zipped", [True, False])
def test_damage_anywhere_is_never_another_error(zipped: bool, tmp_path: Path) -> None:
    stream = io.BytesIO()
    torch.save(content(), stream, _use_new_zipfile_serialization=zipped)
    whole, path, rng = stream.getvalue(), tmp_path / "file.ckpt", random.Random(0)
    refused = 0
    for _ in range(150):
        damaged = bytearray(whole)
        for _ in range(rng.choice([1, 3, 20])):
            damaged[rng.randrange(len(whole))] = rng.randrange(256)
        path.write_bytes(damaged)
        try:
            load_checkpoint(path)
        except DataError:
            refused += 1
    assert refused > 50


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
