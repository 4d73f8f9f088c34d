"""Networks against functions of torch, called by the published names of the tensors, and their published sizes."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from clips import make_clip
from cpnet.errors import ConfigError, DataError
from cpnet.video.backbones import c3d, i3d, load_backbone, s3d
from cpnet.video.backbones.network import Pooled
from cpnet.video.encode import encode_video

NETWORKS = {  # and their numbers of parameters without the classifiers of UCF101 (fc7, fc8), of none, and of Kinetics
    "c3d": (c3d.network, 78_409_573 - 4097 * (4096 + 101)),
    "i3d": (i3d.network, 12_287_264),
    "s3d": (s3d.network, 8_320_048 - 1025 * 400),
}
COLOURS = {"i3d": (0.5, 0.5), "s3d": ((0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989))}
STATISTICS = ("running_mean", "running_var", "weight", "bias")


def write_weights(name: str, path: Path) -> dict[str, Tensor]:
    """Write a state dict as published: with a classifier, without counters of batches."""
    rng, state = np.random.default_rng(0), {"fc8.bias": torch.ones(487)}
    with torch.device("meta"):
        shapes = {key: tuple(each.shape) for key, each in NETWORKS[name][0]().state_dict().items()}
    for key, shape in shapes.items():
        low = 0.5 if key.endswith("var") else -1.5
        state[key] = torch.from_numpy((rng.uniform(low, 1.5, shape) / prod(shape[1:]) ** 0.5).astype("f4"))
    torch.save(state, path)
    return state


def padded(x: Tensor, kernel: Any, stride: Any, *, same: bool) -> Tensor:
    """Pad by half of the kernel, or as TensorFlow's SAME."""
    for axis, (side, wide, step) in enumerate(zip(x.shape[2:], kernel, stride, strict=True)):
        missing = max((-(-side // step) - 1) * step + wide - side, 0) if same else wide // 2 * 2
        x = F.pad(x, [*[0, 0] * (2 - axis), missing // 2, missing - missing // 2])
    return x


def pooled(x: Tensor, kernel: Any, stride: Any, *, same: bool) -> Tensor:
    return F.max_pool3d(padded(x, kernel, stride, same=same), kernel, stride)


def inception(x: Tensor, state: dict[str, Tensor], *, same: bool) -> Tensor:
    """Return the row of I3D (``same``) or S3D."""
    tensors = ("conv3d.weight", "bn.") if same else ("0.weight", "1.")
    names = ["Conv3d_1a_7x7", "Conv3d_2b_1x1 Conv3d_2c_3x3", "b0", "b1a b1b", "b2a b2b", "b3b"]
    blocks = [f"Mixed_{each}" for each in ("3b", "3c", "4b", "4c", "4d", "4e", "4f", "5b", "5c")]
    if not same:
        names = ["features.0.0 features.0.1", "features.2 features.3.0 features.3.1", "branch0"]
        names += [*(f"branch{n}.0 branch{n}.1.0 branch{n}.1.1" for n in (1, 2)), "branch3.1"]
        blocks = [f"features.{number}" for number in (5, 6, 8, 9, 10, 11, 12, 14, 15)]

    def units(x: Tensor, keys: str, at: str = "", step: int = 1) -> Tensor:
        for key in keys.split():
            kernel, norm = state[f"{at}{key}.{tensors[0]}"], f"{at}{key}.{tensors[1]}"
            stride = [step if side > 1 else 1 for side in kernel.shape[2:]]
            x = F.conv3d(padded(x, kernel.shape[2:], stride, same=same), kernel, None, stride)
            mean, variance, weight, bias = (state[norm + each] for each in STATISTICS)
            x = F.relu(F.batch_norm(x, mean, variance, weight, bias, eps=1e-3))
        return x

    x = pooled(units(x, names[0], step=2), (1, 3, 3), (1, 2, 2), same=same)
    x = pooled(units(x, names[1]), (1, 3, 3), (1, 2, 2), same=same)
    for number, block in enumerate(blocks):
        if side := {2: 3, 7: 2}.get(number):
            x = pooled(x, [side] * 3, [2] * 3, same=same or side == 2)  # an even map is not padded
        ways = [x, x, x, pooled(x, (3, 3, 3), (1, 1, 1), same=same)]
        x = torch.cat([units(way, keys, f"{block}.") for way, keys in zip(ways, names[2:], strict=True)], dim=1)
    return x.mean(dim=(2, 3, 4))


def c3d_row(x: Tensor, state: dict[str, Tensor]) -> Tensor:
    for name in ("1", "2", "3a", "3b", "4a", "4b", "5a", "5b"):
        x = F.relu(F.conv3d(x, state[f"conv{name}.weight"], state[f"conv{name}.bias"], padding=1))
        if not name.endswith("a"):
            x = F.max_pool3d(F.pad(x, [1, 1, 1, 1]) if name == "5b" else x, (1 if name == "1" else 2, 2, 2))
    return F.relu(x.flatten(1) @ state["fc6.weight"].T + state["fc6.bias"])


@pytest.mark.parametrize("name", ["i3d", "s3d", pytest.param("c3d", marks=pytest.mark.slow)])
def test_rows_and_number_of_parameters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    state = write_weights(name, tmp_path / "w.pt")
    assert sum(each.numel() for key, each in state.items() if "running" not in key) - 487 == NETWORKS[name][1]
    backbone = load_backbone(name, weights=tmp_path / "w.pt")
    high, wide, side = (128, 171, 112) if name == "c3d" else (96, 139, 64)  # 64 for speed
    monkeypatch.setattr(type(backbone), "crop", side)
    monkeypatch.setattr(Pooled, "forward", lambda _, x: x.mean(dim=(2, 3, 4)))
    frames = np.random.default_rng(1).integers(0, 256, (1, 16, high, wide, 3), np.uint8)
    top, left = (high - side) // 2, (wide - side) // 2
    x = torch.from_numpy(frames[:, :, top : top + side, left : left + side]).float()
    if name != "c3d":
        x = (x / 255 - torch.tensor(COLOURS[name][0])) / torch.tensor(COLOURS[name][1])
    x = x.movedim(-1, 1)
    row = c3d_row(x, state) if name == "c3d" else inception(x, state, same=name == "i3d")
    np.testing.assert_allclose(backbone.encode(frames), row.numpy(), rtol=1e-5, atol=1e-5 * row.max().item())


def test_longer_window_is_pooled_over_pairs_of_steps() -> None:
    x = torch.arange(3.0)[None, None, :, None, None].expand(1, 2, 3, 7, 7) ** 2
    assert Pooled()(x).tolist() == [[(0.5 + 2.5) / 2] * 2]  # not 5 / 3


@pytest.mark.slow
def test_clip_is_encoded_with_weights_of_a_file(tmp_path: Path) -> None:
    write_weights("i3d", tmp_path / "w.pt")
    backbone = load_backbone("i3d", weights=tmp_path / "w.pt", fps=5)
    video = encode_video(make_clip(tmp_path / "a.mp4", count=50), backbone)
    assert (video.rows.shape, video.extractor.window, video.extractor.stride) == ((1, 1024), 16, 8)
    for name, wrong, said in (
        ("i3d", None, "needs weights=FILE, rgb_imagenet"),
        ("s3d", tmp_path / "w.pt", "holds other weights"),
        ("efficientnet_lite0", tmp_path / "w.pt", "has its weights in a package"),
    ):
        with pytest.raises((ConfigError, DataError), match=said):
            load_backbone(name, weights=wrong)
