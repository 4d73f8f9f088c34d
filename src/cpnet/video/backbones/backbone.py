"""Interface of all backbones, and their weights."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from cpnet.data.extractor import Extractor
from cpnet.errors import DataError, quote, reason
from cpnet.video.decode import Size

Weights = dict[str, NDArray[np.float32]]


class Backbone(ABC):
    """A network that encodes each window of frames as one row.

    Attributes:
        name: as ``backbone=`` spells it
        width: width V of a row
        window: frames of a row
        stride: frames between rows
        size: size of the frames that ``encode`` takes
        preprocessing: what is done to a frame, in words
        fps: frames per second
        fingerprint: hash of the weights
    """

    name: ClassVar[str]
    width: ClassVar[int]
    window: ClassVar[int]
    stride: ClassVar[int]
    size: ClassVar[Size]
    preprocessing: ClassVar[str]
    fps: float
    fingerprint: str

    @abstractmethod
    def encode(self, windows: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Encode windows of frames.

        Shape: windows (B, window, height, width, 3), RGB -> (B, V)
        """

    def extractor(self) -> Extractor:
        """Return what identifies the rows of this backbone."""
        return Extractor(
            backbone=self.name,
            weights=self.fingerprint,
            preprocessing=self.preprocessing,
            fps=float(self.fps),
            window=self.window,
            stride=self.stride,
            width=self.width,
        )


class JointBackbone(Backbone):
    """A backbone that encodes sentences in the same space as frames: a row and its sentence have a high cosine."""

    @abstractmethod
    def encode_text(self, sentences: Sequence[str]) -> NDArray[np.float32]:
        """Encode sentences. Shape: N sentences -> (N, V)"""


def read_weights(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> Weights:
    """Read the tensors of a state dict, without executing code from the file.

    Args:
        path: a file of ``torch.save``
        shapes: shape of each tensor that is needed; others are ignored

    Raises:
        DataError: the file cannot be read, or a tensor is missing or has another shape
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        found = {name: tuple(state[name].shape) for name in shapes if name in state}
    except Exception as error:  # damaged bytes can raise almost any type
        raise DataError(f"{path} cannot be read as weights ({reason(error)}); install or copy it again") from error
    if wrong := [name for name, shape in shapes.items() if found.get(name) != tuple(shape)]:
        raise DataError(f"{path} holds other weights: {len(wrong)} tensors are missing or misshapen: {quote(wrong)}")
    return {name: state[name].float().numpy() for name in shapes}


def fingerprint(weights: Weights) -> str:
    """Hash names, shapes and values of weights; the file and its format do not matter."""
    digest = hashlib.sha256()
    for name, values in sorted(weights.items()):
        digest.update(f"{name}\0{values.shape}\n".encode())
        digest.update(np.ascontiguousarray(values, "<f4").tobytes())
    return digest.hexdigest()[:16]
