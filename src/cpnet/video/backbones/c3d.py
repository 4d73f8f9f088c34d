"""C3D, trained on Sports-1M: rows as in packs of ActivityNet Captions (before their PCA), Charades-STA and TACoS.

Source: Tran et al., Learning spatiotemporal features with 3D convolutional networks, ICCV 2015, Figure 3. Names of
tensors and preprocessing: github.com/DavideA/c3d-pytorch, which subtracts no mean.
"""

from __future__ import annotations

from typing import ClassVar

from torch import nn

from cpnet.video.backbones.network import TorchBackbone
from cpnet.video.decode import Size

CONVOLUTIONS = {"1": 64, "2": 128, "3a": 256, "3b": 256, "4a": 512, "4b": 512, "5a": 512, "5b": 512}


def network() -> nn.Module:
    """Return the network. Shape: (B, 3, window, crop, crop) -> (B, V)"""
    layers, channels = nn.Sequential(), 3
    for name, wide in CONVOLUTIONS.items():
        layers.add_module(f"conv{name}", nn.Conv3d(channels, wide, 3, padding=1))
        layers.add_module(f"relu{name}", nn.ReLU())
        if not name.endswith("a"):
            sides = (1, 2, 2) if name == "1" else 2
            padding = (0, 1, 1) if name == "5b" else 0  # 7 x 7 -> 4 x 4
            layers.add_module(f"pool{name[0]}", nn.MaxPool3d(sides, padding=padding))
        channels = wide
    layers.add_module("flat", nn.Flatten())
    layers.add_module("fc6", nn.Linear(512 * 4 * 4, 4096))
    layers.add_module("relu6", nn.ReLU())
    return layers


class C3D(TorchBackbone):
    """Encodes each window of 16 frames by fc6, after its ReLU. See ``TorchBackbone``."""

    name: ClassVar[str] = "c3d"
    width: ClassVar[int] = 4096
    window: ClassVar[int] = 16
    stride: ClassVar[int] = 8
    rate: ClassVar[float] = 25.0  # published packs take every frame of the file
    size: ClassVar[Size] = 112
    crop: ClassVar[int] = 112
    preprocessing: ClassVar[str] = "shorter side 112, middle 112 x 112, RGB of 0 to 255"
    published: ClassVar[str] = "FILE, c3d.pickle of github.com/DavideA/c3d-pytorch"
    build = staticmethod(network)
