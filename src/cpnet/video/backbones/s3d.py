"""S3D, trained on Kinetics: I3D with each 3D convolution split into one of space and one of time.

Source: Xie et al., Rethinking spatiotemporal feature learning, ECCV 2018. Names of tensors and preprocessing:
torchvision.models.video.s3d.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import ClassVar

import torch
from torch import Tensor, nn

from cpnet.video.backbones.network import INCEPTION, Pooled, TorchBackbone, norm
from cpnet.video.decode import Size


def _pool() -> nn.Module:
    return nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1))


def _unit(channels: int, wide: int, time: int = 1, space: int = 1, step: int = 1, stride: int = 1) -> nn.Module:
    """Return a convolution of some steps and positions, its normalisation, and a ReLU."""
    kernel, strides, padding = (time, space, space), (step, stride, stride), (time // 2, space // 2, space // 2)
    return nn.Sequential(nn.Conv3d(channels, wide, kernel, strides, padding, bias=False), norm(wide), nn.ReLU())


def _separable(channels: int, wide: int, kernel: int = 3, stride: int = 1) -> nn.Module:
    return nn.Sequential(
        _unit(channels, wide, space=kernel, stride=stride), _unit(wide, wide, time=kernel, step=stride)
    )


class _Mixed(nn.Module):
    """An Inception block: four branches side by side."""

    def __init__(self, channels: int, one: int, less: int, three: int, less2: int, three2: int, last: int) -> None:
        super().__init__()
        self.branch0 = _unit(channels, one)
        self.branch1 = nn.Sequential(_unit(channels, less), _separable(less, three))
        self.branch2 = nn.Sequential(_unit(channels, less2), _separable(less2, three2))
        self.branch3 = nn.Sequential(nn.MaxPool3d(3, 1, 1), _unit(channels, last))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.branch0(x), self.branch1(x), self.branch2(x), self.branch3(x)], dim=1)


def network() -> nn.Module:
    """Return the network. Shape: (B, 3, window, crop, crop) -> (B, V)"""
    layers = nn.Sequential(_separable(3, 64, 7, 2), _pool(), _unit(64, 64), _separable(64, 192), _pool())
    for name, channels in INCEPTION.items():
        if name in ("4b", "5b"):
            layers.append(nn.MaxPool3d(3, 2, 1) if name == "4b" else nn.MaxPool3d(2, 2))
        layers.append(_Mixed(*channels))
    return nn.Sequential(OrderedDict(features=layers, pooled=Pooled()))


class S3D(TorchBackbone):
    """Encodes each window of 64 frames by the mean of the last feature map. See ``TorchBackbone``."""

    name: ClassVar[str] = "s3d"
    width: ClassVar[int] = 1024
    window: ClassVar[int] = 64  # as in the paper
    stride: ClassVar[int] = 16  # about a second
    rate: ClassVar[float] = 15.0
    size: ClassVar[Size] = (256, 256)
    crop: ClassVar[int] = 224
    mean: ClassVar[tuple[float, ...]] = (0.43216 * 255, 0.394666 * 255, 0.37645 * 255)
    deviation: ClassVar[tuple[float, ...]] = (0.22803 * 255, 0.22145 * 255, 0.216989 * 255)
    preprocessing: ClassVar[str] = "whole frame at 256 x 256, middle 224 x 224, normalised by Kinetics' colours"
    published: ClassVar[str] = "FILE, s3d-d76dad2f.pth of download.pytorch.org/models"
    build = staticmethod(network)
