"""Networks that turn frames into rows of features."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cpnet.errors import ConfigError
from cpnet.video.backbones.backbone import Backbone, JointBackbone
from cpnet.video.backbones.c3d import C3D
from cpnet.video.backbones.clip import ClipViTB32
from cpnet.video.backbones.efficientnet_lite0 import EfficientNetLite0
from cpnet.video.backbones.i3d import I3D
from cpnet.video.backbones.s3d import S3D

__all__ = ["BACKBONES", "Backbone", "JointBackbone", "is_joint", "load_backbone"]

BACKBONES: dict[str, Callable[..., Backbone]] = {
    each.name: each for each in (EfficientNetLite0, C3D, I3D, S3D, ClipViTB32)
}


def load_backbone(
    name: str, *, fps: float | None = None, threads: int | None = None, weights: str | Path | None = None
) -> Backbone:
    """Load a backbone by its name.

    Args:
        name: a key of ``BACKBONES``
        fps: frames per second; None takes the backbone's own rate
        threads: threads of the network, with torch of this process; None: one with onnxruntime, torch's own with torch
        weights: file or folder of published weights; None for ``efficientnet_lite0``, which is installed with them

    Raises:
        ConfigError: there is no such backbone, fps is invalid, a package is missing, or weights are not given
        DataError: the weights are damaged, or those of another network
    """
    if name not in BACKBONES:
        raise ConfigError(f"backbone must be one of {', '.join(BACKBONES)}; got {name!r}")
    if fps is not None and not 0 < fps <= 1000:
        raise ConfigError(f"fps must be above 0 and at most 1000; got {fps}")
    return BACKBONES[name](fps=fps, threads=threads, weights=None if weights is None else Path(weights).expanduser())


def is_joint(name: str) -> bool:
    """Return whether a backbone also encodes sentences, without loading it."""
    return isinstance(kind := BACKBONES.get(name), type) and issubclass(kind, JointBackbone)
