"""Checkpoints survive a round trip; any other file is refused without executing its code."""

from __future__ import annotations

import io
import pickle
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from cpnet.data.vocabulary import Vocabulary
from cpnet.errors import DataError
from cpnet.runs.checkpoint import load_checkpoint, provenance, read_checkpoint
from packs import Payload


def vocabulary() -> Vocabulary:
    return Vocabulary(("", "<unk>", "door", "été"), torch.tensor([[0.0, 0], [0, 0], [0.1, -2], [3, 4]]))


def content(**changes: Any) -> dict[str, Any]:
    """Content of a checkpoint, written by hand."""
    ours = {"format": 1, "config": {"seed": 3, "sampling": {"clips": 4}}, "vocabulary": vocabulary().state_dict()}
    return {"cpnet": ours, "state_dict": {"weight": torch.arange(3.0)}, "epoch": 5} | changes


def saved(of: object, folder: Path) -> Path:
    path = folder / "file.ckpt"
    torch.save(of, path)
    return path


def test_checkpoint_survives_round_trip(tmp_path: Path) -> None:
    checkpoint = load_checkpoint(str(saved(content(), tmp_path)))
    assert checkpoint.path == tmp_path / "file.ckpt"
    assert checkpoint.config == {"seed": 3, "sampling": {"clips": 4}}
    assert checkpoint.vocabulary.words == ("", "<unk>", "door", "été")
    assert torch.equal(checkpoint.vocabulary.vectors, vocabulary().vectors)
    assert checkpoint.weights.keys() == {"weight"}
    assert torch.equal(checkpoint.weights["weight"], torch.arange(3.0))
    assert checkpoint.epoch == 5


def test_path_may_begin_with_a_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(content(), tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load_checkpoint("~/file.ckpt").epoch == 5


def test_provenance_keeps_interpolations_and_resolves_names_known_only_to_the_run() -> None:
    name = "${oc.env:CPNET_TEST_UNSET,small}"
    names = {"model_name": name, "experiment_name": None, "run_name": "${model_name}/0"}
    words = vocabulary()
    assert provenance(OmegaConf.create({"root": "/data", "path": "${root}/x"} | names), words) == {
        "format": 1,
        "config": {
            "root": "/data",
            "path": "${root}/x",
            "model_name": "small",
            "experiment_name": None,
            "run_name": "small/0",
        },
        "vocabulary": {"words": list(words.words), "vectors": words.vectors},
    }


def test_missing_file_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.ckpt", tmp_path):
        with pytest.raises(DataError, match=r"no checkpoint at .*; the best one of a run is OUTPUT_FOLDER"):
            load_checkpoint(path)


@pytest.mark.parametrize("number", [0, 3, "1"])
def test_other_format_is_refused(number: object, tmp_path: Path) -> None:
    path = saved(content(cpnet=content()["cpnet"] | {"format": number}), tmp_path)
    with pytest.raises(DataError, match=rf"has format {number}, expected 1; use the version of cpnet that wrote it"):
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
    ids=["list", "tensor", "other library", "text", "empty"],
)
def test_file_of_another_program_is_refused(foreign: object, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"file\.ckpt was not written by cpnet\.train"):
        load_checkpoint(saved(foreign, tmp_path))


@pytest.mark.parametrize("part", ["config", "vocabulary", "state_dict", "epoch"])
def test_missing_part_is_named(part: str, tmp_path: Path) -> None:
    whole = content()
    (whole if part in whole else whole["cpnet"]).pop(part)
    with pytest.raises(DataError, match=rf"file\.ckpt is damaged: missing {part}"):
        load_checkpoint(saved(whole, tmp_path))


def test_vocabulary_with_wrong_vectors_is_refused(tmp_path: Path) -> None:
    state = {"words": ["", "<unk>"], "vectors": torch.zeros(3, 2)}
    with pytest.raises(DataError, match="2 words do not fit vectors"):
        load_checkpoint(saved(content(cpnet=content()["cpnet"] | {"vocabulary": state}), tmp_path))


def written(of: object, **options: Any) -> bytes:
    stream = io.BytesIO()
    torch.save(of, stream, **options)
    return stream.getvalue()


def test_damaged_file_is_refused(tmp_path: Path) -> None:
    whole, path = written(content()), tmp_path / "file.ckpt"
    path.write_bytes(whole)
    load_checkpoint(path)
    legacy = written(content(), _use_new_zipfile_serialization=False)  # without checksums
    cut = (whole[:size] for size in range(0, len(whole), len(whole) // 40))
    for data in (b"\x80", b"hello, world\n", b"PK\x03\x04", bytes(1000), legacy, *cut):
        path.write_bytes(data)
        with pytest.raises(DataError, match=r"file\.ckpt is not a checkpoint or is damaged \(.+\)"):
            load_checkpoint(path)


def same(first: object, second: object) -> bool:
    """Return whether two contents are bit-identical."""
    if isinstance(first, dict) and isinstance(second, dict):
        return list(first) == list(second) and all(same(first[key], second[key]) for key in first)
    if isinstance(first, torch.Tensor) and isinstance(second, torch.Tensor):
        return first.dtype == second.dtype and torch.equal(first, second)
    return type(first) is type(second) and first == second


def test_flipped_bit_is_detected_or_changes_nothing(tmp_path: Path) -> None:
    # Everything but padding and time stamps has a checksum.
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


def test_every_flipped_bit_of_the_weights_is_detected(tmp_path: Path) -> None:
    weights = torch.full((64,), 1.25)
    whole, path = written(content(state_dict={"weight": weights})), tmp_path / "file.ckpt"
    first = whole.index(weights.numpy().tobytes())
    for place in range(first, first + weights.nbytes):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << place % 8]) + whole[place + 1 :])
        with pytest.raises(DataError, match=r"is damaged \(wrong checksum of .*\)"):
            read_checkpoint(path)


@pytest.mark.parametrize("kind", ["torch", "pickle", "deep"])
def test_code_is_not_executed(kind: str, tmp_path: Path) -> None:
    made, path = tmp_path / "made", tmp_path / "file.ckpt"
    payload = Payload(made)
    if kind == "pickle":
        path.write_bytes(pickle.dumps(payload))
    else:
        torch.save(payload if kind == "torch" else content(epoch=payload), path)
    with pytest.raises(DataError, match="is not a checkpoint or is damaged"):
        load_checkpoint(path)
    assert not made.exists()
    if kind == "pickle":
        pickle.loads(path.read_bytes())
    else:
        torch.load(path, weights_only=False)
    assert made.exists()  # the payload works
