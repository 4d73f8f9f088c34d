"""I3D of RGB frames, trained on Kinetics (and Charades): rows as in packs of Charades-STA and ActivityNet Captions.

Source: Carreira and Zisserman, Quo vadis, action recognition?, CVPR 2017, Figure 3. Names of tensors:
github.com/piergiaj/pytorch-i3d. Preprocessing: github.com/google-deepmind/kinetics-i3d.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cpnet.video.backbones.network import INCEPTION, Pooled, TorchBackbone, norm
from cpnet.video.decode import Size

Sides = tuple[int, int, int]  # time, height, width


def same(x: Tensor, kernel: Sequence[int], stride: Sequence[int]) -> Tensor:
    """Pad with zeros as TensorFlow's ``SAME``: of an odd number, one more at the end."""
    padding: list[int] = []  # F.pad starts with the last dimension
    for side, wide, step in zip(x.shape[2:], kernel, stride, strict=True):
        zeros = max(wide - (side % step or step), 0)
        padding = [zeros // 2, zeros - zeros // 2, *padding]
    return F.pad(x, padding)


class _Convolution(nn.Conv3d):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(same(x, self.kernel_size, self.stride))


class _Pool(nn.MaxPool3d):
    kernel_size: Sides
    stride: Sides

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool3d(same(x, self.kernel_size, self.stride), self.kernel_size, self.stride)


def _unit(channels: int, wide: int, kernel: Sides = (1, 1, 1), stride: Sides = (1, 1, 1)) -> nn.Module:
    convolution = _Convolution(channels, wide, kernel, stride, bias=False)
    return nn.Sequential(OrderedDict(conv3d=convolution, bn=norm(wide), relu=nn.ReLU()))


class _Mixed(nn.Module):
    """An Inception block: four branches side by side."""

    def __init__(self, channels: int, one: int, less: int, three: int, less2: int, three2: int, last: int) -> None:
        super().__init__()
        self.b0 = _unit(channels, one)
        self.b1a, self.b1b = _unit(channels, less), _unit(less, three, (3, 3, 3))
        self.b2a, self.b2b = _unit(channels, less2), _unit(less2, three2, (3, 3, 3))
        self.b3a, self.b3b = _Pool((3, 3, 3), (1, 1, 1)), _unit(channels, last)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), self.b3b(self.b3a(x))], dim=1)


def network() -> nn.Module:
    """Return the network. Shape: (B, 3, window, crop, crop) -> (B, V)"""
    layers = nn.Sequential()
    layers.add_module("Conv3d_1a_7x7", _unit(3, 64, (7, 7, 7), (2, 2, 2)))
    layers.add_module("pool2a", _Pool((1, 3, 3), (1, 2, 2)))
    layers.add_module("Conv3d_2b_1x1", _unit(64, 64))
    layers.add_module("Conv3d_2c_3x3", _unit(64, 192, (3, 3, 3)))
    layers.add_module("pool3a", _Pool((1, 3, 3), (1, 2, 2)))
    for name, channels in INCEPTION.items():
        if name in ("4b", "5b"):
            layers.add_module(f"pool{name}", _Pool((3, 3, 3) if name == "4b" else (2, 2, 2), (2, 2, 2)))
        layers.add_module(f"Mixed_{name}", _Mixed(*channels))
    layers.add_module("pooled", Pooled())
    return layers


class I3D(TorchBackbone):
    """Encodes each window of 16 frames by the mean of the last feature map. See ``TorchBackbone``."""

    name: ClassVar[str] = "i3d"
    width: ClassVar[int] = 1024
    window: ClassVar[int] = 16  # the shortest that is pooled
    stride: ClassVar[int] = 8  # as that of the last feature map
    rate: ClassVar[float] = 25.0
    size: ClassVar[Size] = 256
    crop: ClassVar[int] = 224
    mean: ClassVar[tuple[float, ...]] = (127.5, 127.5, 127.5)
    deviation: ClassVar[tuple[float, ...]] = (127.5, 127.5, 127.5)
    preprocessing: ClassVar[str] = "shorter side 256, middle 224 x 224, RGB of -1 to 1"
    published: ClassVar[str] = "FILE, rgb_imagenet.pt or rgb_charades.pt of github.com/piergiaj/pytorch-i3d"
    build = staticmethod(network)
