"""Origin of features: in the packed store, in joined packs, and in a checkpoint that refuses others."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from cpnet.data.extractor import Extractor, check_extractor
from cpnet.data.features import PackedFeatures, open_features
from cpnet.data.features.pack import pack
from cpnet.data.vocabulary import Vocabulary
from cpnet.errors import DataError
from cpnet.runs.checkpoint import load_checkpoint, provenance

KIND = Extractor(backbone="net", weights="01ab", preprocessing="none", fps=2.0, window=16, stride=8, width=4)


def store(path: Path, video: str, extractor: Any = None) -> Path:
    """Write a packed store of one video by numpy and json alone."""
    path.mkdir()
    np.save(path / "rows.npy", np.concatenate([np.ones((3, 4)), np.zeros((1, 4))]).astype("f2"))
    index = {"ids": [video], "counts": [3], "fingerprint": "0", "stamp": "0", "source": "it", "extractor": extractor}
    (path / "index.json").write_text(json.dumps({"format": "cpnet packed features, 1", **index}), encoding="utf-8")
    return path


def test_extractor_survives_packing(tmp_path: Path) -> None:
    source = open_features(path=store(tmp_path / "a", "v", KIND.to_dict()))
    assert source.extractor == KIND
    pack(source, tmp_path / "b", videos=["v"], dtype="float32")
    assert PackedFeatures(path=tmp_path / "b").extractor == KIND
    assert open_features(path=tmp_path / "b", normalise=True).extractor == KIND
    assert open_features(path=store(tmp_path / "c", "v")).extractor is None


@pytest.mark.parametrize("wrong", [{}, "net", [], {**KIND.to_dict(), "fps": "2"}, {**KIND.to_dict(), "more": 1}])
def test_damaged_extractor_is_refused(tmp_path: Path, wrong: Any) -> None:
    with pytest.raises(DataError, match="does not describe what extracted"):
        PackedFeatures(path=store(tmp_path / "a", "v", wrong))


def test_rows_of_two_backbones_are_not_united(tmp_path: Path) -> None:
    paths = [store(tmp_path / name, name, KIND.to_dict()) for name in "ab"]
    assert open_features(path=paths).extractor == KIND
    other = store(tmp_path / "c", "c", replace(KIND, fps=4.0).to_dict())
    with pytest.raises(DataError, match="rows of different backbones"):
        open_features(path=[*paths, other])


def test_checkpoint_keeps_the_extractor(tmp_path: Path) -> None:
    words = Vocabulary(("", "<unk>"), torch.zeros(2, 2))
    for name, extractor in (("known", KIND), ("unknown", None)):
        ours = provenance(OmegaConf.create(), words, extractor=extractor)
        torch.save({"cpnet": ours, "state_dict": {}, "epoch": 0}, tmp_path / name)
        assert load_checkpoint(tmp_path / name).extractor == extractor


def test_rows_of_another_kind_are_refused() -> None:
    for trained, given in ((KIND, KIND), (KIND, None), (None, KIND)):
        check_extractor(trained, given, "it")
    for change in ({"backbone": "x"}, {"weights": "x"}, {"fps": 3.0}, {"window": 1}, {"preprocessing": "x"}):
        with pytest.raises(DataError, match=r"(?s)^rows\.h5: .*another extractor.*backbone=net fps=2$"):
            check_extractor(KIND, replace(KIND, **change), "rows.h5")
