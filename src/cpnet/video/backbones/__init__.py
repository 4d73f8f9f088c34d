"""Networks that turn frames into rows of features."""

from __future__ import annotations

from collections.abc import Callable

from cpnet.errors import ConfigError
from cpnet.video.backbones.backbone import Backbone, JointBackbone
from cpnet.video.backbones.efficientnet_lite0 import EfficientNetLite0

__all__ = ["BACKBONES", "Backbone", "JointBackbone", "load_backbone"]

BACKBONES: dict[str, Callable[..., Backbone]] = {"efficientnet_lite0": EfficientNetLite0}


def load_backbone(name: str, *, fps: float | None = None, threads: int = 1) -> Backbone:
    """Load a backbone by its name.

    Args:
        name: a key of ``BACKBONES``
        fps: frames per second; None takes the backbone's own rate
        threads: threads of the network

    Raises:
        ConfigError: there is no such backbone, fps is invalid, or a package is missing
        DataError: the weights are damaged
    """
    if name not in BACKBONES:
        raise ConfigError(f"backbone must be one of {', '.join(BACKBONES)}; got {name!r}")
    if fps is not None and not 0 < fps <= 1000:
        raise ConfigError(f"fps must be above 0 and at most 1000; got {fps}")
    return BACKBONES[name](fps=fps, threads=threads)
