"""Networks against numpy, by kernels of one tap each; names and numbers of the tensors are the published ones."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from itertools import chain, product
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from clips import make_clip
from cpnet.errors import ConfigError, DataError
from cpnet.video.backbones import c3d, i3d, load_backbone, s3d
from cpnet.video.backbones.network import Pooled
from cpnet.video.encode import encode_video

Array = NDArray[Any]
NETWORKS = {"c3d": c3d.network, "i3d": i3d.network, "s3d": s3d.network}
PARAMETERS = {  # without classifiers: of UCF101 (fc7, fc8), none, of Kinetics
    "c3d": 78_409_573 - 4097 * (4096 + 101),
    "i3d": 12_287_264,
    "s3d": 8_320_048 - 1025 * 400,
}


def shapes(name: str) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        return {key: tuple(each.shape) for key, each in NETWORKS[name]().state_dict().items()}


def write_weights(name: str, path: Path) -> dict[str, Array]:
    """Write a state dict as published: with a classifier, half precision, without counters of batches."""
    rng, state = np.random.default_rng(0), {}
    for key, shape in shapes(name).items():
        state[key] = rng.uniform(0.5, 1.5, shape).astype("f2").astype("f4") - 1.0 * key.endswith(("bias", "mean"))
        if len(shape) == 5:
            taps = np.zeros((shape[0], prod(shape[1:])), "f4")
            taps[np.arange(shape[0]), rng.integers(taps.shape[1], size=shape[0])] = 1
            state[key] = taps.reshape(shape)
    torch.save({key: torch.from_numpy(each).half() for key, each in {**state, "fc8.bias": np.ones(487)}.items()}, path)
    return state


def under(x: Array, kernel: Any, stride: Any, *, same: bool, zeros: Any = None) -> Callable[[Any], Array]:
    """Return a function from a tap of a kernel to the values under it. Shape: x (C, T, H, W)"""
    zeros = [side // 2 for side in kernel] if zeros is None else zeros
    ends, counts = [(0, 0)], []
    for side, wide, step, each in zip(x.shape[1:], kernel, stride, zeros, strict=True):
        counts.append(-(-side // step) if same else (side + 2 * each - wide) // step + 1)
        total = max((counts[-1] - 1) * step + wide - side, 0)
        ends.append((total // 2, total - total // 2) if same else (each, each))
    padded = np.pad(x, ends)
    last = [(count - 1) * step + 1 for count, step in zip(counts, stride, strict=True)]

    def at(tap: Any) -> Array:
        places = (slice(t, t + n, s) for t, n, s in zip(tap, last, stride, strict=True))
        return padded[tuple(chain([slice(None)], places))]

    return at


def pooled(x: Array, kernel: Any, stride: Any, **padding: Any) -> Array:
    at = under(x, kernel, stride, **padding)
    return reduce(np.maximum, (at(tap) for tap in product(*map(range, kernel))))


def convolved(x: Array, kernels: Array, stride: Any = (1, 1, 1), *, same: bool) -> Array:
    at = under(x, kernels.shape[2:], stride, same=same)
    return np.stack([at(tap[1:])[tap[0]] for tap in (np.argwhere(kernel)[0] for kernel in kernels)])


def inception(x: Array, state: dict[str, Array], *, same: bool) -> Array:
    """Return the last feature map of I3D (``same``) or S3D."""
    layers = [f"Mixed_{each}" for each in ("3b", "3c", "4b", "4c", "4d", "4e", "4f", "5b", "5c")]
    first, stem = ["Conv3d_1a_7x7"], ["Conv3d_2b_1x1", "Conv3d_2c_3x3"]
    branches = ["b0", "b1a b1b", "b2a b2b", "b3b"]
    if not same:
        layers = [f"features.{number}" for number in (5, 6, 8, 9, 10, 11, 12, 14, 15)]
        first, stem = ["features.0.0", "features.0.1"], ["features.2", "features.3.0", "features.3.1"]
        branches = ["branch0", *(f"branch{n}.0 branch{n}.1.0 branch{n}.1.1" for n in (1, 2)), "branch3.1"]

    def unit(x: Array, key: str, step: int = 1) -> Array:
        kernels = state[f"{key}.{'conv3d' if same else '0'}.weight"]
        x = convolved(x, kernels, [step if side > 1 else 1 for side in kernels.shape[2:]], same=same)
        parts = (f"{key}.{'bn' if same else '1'}.{each}" for each in ("weight", "bias", "running_mean", "running_var"))
        weight, bias, mean, variance = (state[part][:, None, None, None] for part in parts)
        return np.maximum((x - mean) / np.sqrt(variance + 1e-3) * weight + bias, 0)

    for key in first:
        x = unit(x, key, step=2)
    x = pooled(x, (1, 3, 3), (1, 2, 2), same=same)
    for key in stem:
        x = unit(x, key)
    x = pooled(x, (1, 3, 3), (1, 2, 2), same=same)
    for number, layer in enumerate(layers):
        if number == 2:
            x = pooled(x, (3, 3, 3), (2, 2, 2), same=same)
        if number == 7:
            x = pooled(x, (2, 2, 2), (2, 2, 2), same=same, zeros=(0, 0, 0))
        ways = [x, x, x, pooled(x, (3, 3, 3), (1, 1, 1), same=same)]
        for way, keys in enumerate(branches):
            for key in keys.split():
                ways[way] = unit(ways[way], f"{layer}.{key}")
        x = np.concatenate(ways)
    return x


def c3d_row(x: Array, state: dict[str, Array]) -> Array:
    for name in ("1", "2", "3a", "3b", "4a", "4b", "5a", "5b"):
        x = convolved(x, state[f"conv{name}.weight"], same=False) + state[f"conv{name}.bias"][:, None, None, None]
        if not name.endswith("a"):
            sides = (1, 2, 2) if name == "1" else (2, 2, 2)
            x = pooled(np.maximum(x, 0), sides, sides, same=False, zeros=(0, 1, 1) if name == "5b" else (0, 0, 0))
        x = np.maximum(x, 0)
    row: Array = np.maximum(state["fc6.weight"] @ x.reshape(-1) + state["fc6.bias"], 0)
    return row


@pytest.mark.parametrize(
    "name", ["i3d", pytest.param("s3d", marks=pytest.mark.slow), pytest.param("c3d", marks=pytest.mark.slow)]
)
def test_rows_are_those_of_numpy(tmp_path: Path, name: str) -> None:
    state = write_weights(name, tmp_path / "w.pt")
    backbone = load_backbone(name, weights=tmp_path / "w.pt")
    high, wide = (256, 256) if name == "s3d" else (128, 171) if name == "c3d" else (256, 299)
    frames = np.random.default_rng(1).integers(0, 256, (1, 16, high, wide, 3), np.uint8)
    side = 112 if name == "c3d" else 224
    top, left = (high - side) // 2, (wide - side) // 2
    x = frames[0, :, top : top + side, left : left + side].transpose(3, 0, 1, 2).astype("f4")
    if name == "c3d":
        row = c3d_row(x, state)
    elif name == "i3d":
        row = inception(x / 255 * 2 - 1, state, same=True).mean(axis=(1, 2, 3))
    else:
        mean, deviation = (0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989)
        colours = (np.array(each, "f4")[:, None, None, None] for each in (mean, deviation))
        row = inception((x / 255 - next(colours)) / next(colours), state, same=False).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(backbone.encode(frames)[0], row, rtol=1e-3, atol=1e-3 * row.max())


@pytest.mark.parametrize("name", NETWORKS)
def test_number_of_parameters_is_the_published_one(name: str) -> None:
    statistics = ("running_mean", "running_var")
    assert sum(prod(shape) for key, shape in shapes(name).items() if not key.endswith(statistics)) == PARAMETERS[name]


def test_longer_window_is_pooled_over_pairs_of_steps() -> None:
    x = torch.arange(3.0)[None, None, :, None, None].expand(1, 2, 3, 7, 7) ** 2
    assert Pooled()(x).tolist() == [[(0.5 + 2.5) / 2] * 2]  # not 5 / 3


def test_clip_is_encoded_with_weights_of_a_file(tmp_path: Path) -> None:
    write_weights("i3d", tmp_path / "w.pt")
    backbone = load_backbone("i3d", weights=tmp_path / "w.pt", fps=5)
    video = encode_video(make_clip(tmp_path / "a.mp4", count=50), backbone)
    assert (video.rows.shape, video.extractor.window, video.extractor.stride) == ((1, 1024), 16, 8)
    for wrong, said in ((None, "needs weights=FILE, rgb_imagenet"), (tmp_path / "none.pt", "cannot be read")):
        with pytest.raises((ConfigError, DataError), match=said):
            load_backbone("i3d", weights=wrong)
    with pytest.raises(DataError, match="holds other weights"):
        load_backbone("s3d", weights=tmp_path / "w.pt")
    with pytest.raises(ConfigError, match="has its weights in a package"):
        load_backbone("efficientnet_lite0", weights=tmp_path / "w.pt")
