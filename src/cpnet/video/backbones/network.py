"""Backbones that run with torch, on a GPU if there is one, with published weights from a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from cpnet.errors import ConfigError
from cpnet.video.backbones.backbone import Backbone, fingerprint, read_weights


class TorchBackbone(Backbone):
    """Encodes the middle square of frames, normalised, by a network of torch. See ``load_backbone`` for arguments."""

    rate: ClassVar[float]  # frames per second of the published code
    crop: ClassVar[int]  # side of the square
    mean: ClassVar[tuple[float, ...]] = (0.0, 0.0, 0.0)  # of red, green and blue of 0 to 255
    deviation: ClassVar[tuple[float, ...]] = (1.0, 1.0, 1.0)
    build: ClassVar[staticmethod[[], nn.Module]]  # network without weights, (B, 3, window, crop, crop) -> (B, V)
    published: ClassVar[str]  # what ``weights`` must be, and where it is

    def __init__(self, *, fps: float | None = None, threads: int | None = None, weights: Path | None = None) -> None:
        if weights is None:
            raise ConfigError(f"backbone={self.name} needs weights={self.published}; nothing is downloaded")
        self.fps = self.rate if fps is None else fps
        if threads:
            torch.set_num_threads(threads)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.network: Any = self.load(weights).train(mode=False)
        self.fingerprint = fingerprint({name: each.numpy() for name, each in self.network.state_dict().items()})
        self.network.to(self.device)

    def load(self, weights: Path) -> nn.Module:
        """Return ``build()`` with the tensors of a state dict, where others, such as a classifier's, are ignored."""
        network = self.build()
        values = read_weights(weights, {name: tuple(each.shape) for name, each in network.state_dict().items()})
        tensors = {name: torch.from_numpy(each) for name, each in values.items()}
        network.load_state_dict(tensors, strict=False, assign=True)  # read_weights is strict
        return network

    @torch.inference_mode()
    def encode(self, windows: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See ``Backbone``."""
        top, left = ((side - self.crop) // 2 for side in windows.shape[2:4])
        middle = np.ascontiguousarray(windows[:, :, top : top + self.crop, left : left + self.crop])
        frames = torch.from_numpy(middle).to(self.device) - torch.tensor(self.mean, device=self.device)
        frames /= torch.tensor(self.deviation, device=self.device)
        rows: NDArray[np.float32] = self.rows(frames.movedim(-1, 1)).cpu().numpy()
        return rows

    def rows(self, frames: Tensor) -> Tensor:
        """Encode windows of normalised frames. Shape: (B, 3, window, crop, crop) -> (B, V)"""
        found: Tensor = self.network(frames)
        return found


def norm(channels: int) -> nn.Module:
    """Return a batch normalisation with statistics from the weights."""
    found = nn.BatchNorm3d(channels, eps=1e-3)
    found.num_batches_tracked = None  # older weights lack it
    return found


class Pooled(nn.Module):
    """Means of 2 steps x 7 x 7 positions, then the mean of them, which is not the mean of all positions."""

    def forward(self, x: Tensor) -> Tensor:
        """Pool. Shape: (B, V, steps, height, width) -> (B, V)"""
        return F.avg_pool3d(x, (2, 7, 7), stride=1).mean(dim=(2, 3, 4))


# Channels of an Inception block: input, 1x1, 3x3 (reduced, full), second 3x3 (reduced, full), after pooling.
# Szegedy et al., Going deeper with convolutions, CVPR 2015, Table 1, with 3x3 in place of 5x5
INCEPTION = {
    "3b": (192, 64, 96, 128, 16, 32, 32),
    "3c": (256, 128, 128, 192, 32, 96, 64),
    "4b": (480, 192, 96, 208, 16, 48, 64),
    "4c": (512, 160, 112, 224, 24, 64, 64),
    "4d": (512, 128, 128, 256, 24, 64, 64),
    "4e": (512, 112, 144, 288, 32, 64, 64),
    "4f": (528, 256, 160, 320, 32, 128, 128),
    "5b": (832, 256, 160, 320, 32, 128, 128),
    "5c": (832, 384, 192, 384, 48, 128, 128),
}
