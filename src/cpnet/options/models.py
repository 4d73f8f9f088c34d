"""Options of the models. A wrong value raises a ``ValueError`` that names its key."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from cpnet.options.checks import check_choice


@dataclass
class NetworkOptions:
    """Options that all models have."""

    hidden_dim: int = 512  # D
    dropout: float = 0.2

    def __post_init__(self) -> None:
        if self.hidden_dim < 2:
            raise ValueError(f"model.hidden_dim must be 2 or more; got {self.hidden_dim}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"model.dropout must be at least 0 and below 1; got {self.dropout}")


@dataclass
class EncoderOptions:
    """Options of ``cpnet.models.cpnet.encoder.FeatureEncoder``."""

    kernel_size: int = 15  # k of the depthwise convolutions, odd
    conv_layers: int = 4
    num_heads: int = 8  # H, a divisor of hidden_dim

    def __post_init__(self) -> None:
        if self.kernel_size < 1 or self.kernel_size % 2 == 0:
            raise ValueError(f"model.encoder.kernel_size must be odd and positive; got {self.kernel_size}")
        if self.conv_layers < 0:
            raise ValueError(f"model.encoder.conv_layers must be 0 or more; got {self.conv_layers}")


@dataclass
class CAMOptions:
    """Options of ``cpnet.models.cpnet.pyramid.ContextAwareModule``."""

    diagonal: str = "both"  # both | once: whether past and future both include the clip itself
    scale: bool = False  # divide the scores by sqrt(D)
    separate_values: bool = False  # one map g for the past and another for the future

    def __post_init__(self) -> None:
        check_choice("model.cam.diagonal", self.diagonal, ("both", "once"))


@dataclass
class ContextualOptions(NetworkOptions):
    """Options of the encoders and the pyramid that CPNet and CPNetPlus share."""

    centre: bool = False  # subtract each video's mean clip and scale the rest; not in the paper; for single frames
    position: str = "sinusoid"  # sinusoid | learned
    max_length: int = 128  # of videos and queries, for learned positions
    encoder: EncoderOptions = field(default_factory=EncoderOptions)
    pyramid_levels: int = 3  # P, 1 to 8
    context_aware: bool = True  # False: the paper's "w/o CAM"
    cam: CAMOptions = field(default_factory=CAMOptions)
    downsample: str = "max"  # max | avg | conv
    upsample: str = "nearest"  # nearest | linear

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("model.position", self.position, ("sinusoid", "learned"))
        check_choice("model.downsample", self.downsample, ("max", "avg", "conv"))
        check_choice("model.upsample", self.upsample, ("nearest", "linear"))
        if self.max_length < 1:
            raise ValueError(f"model.max_length must be 1 or more; got {self.max_length}")
        if not 1 <= self.pyramid_levels <= 8:
            raise ValueError(f"model.pyramid_levels must be 1 to 8; got {self.pyramid_levels}")
        heads = self.encoder.num_heads
        if heads < 1 or self.hidden_dim % heads:
            raise ValueError(
                "model.encoder.num_heads must be a positive divisor of model.hidden_dim; "
                f"got {heads} and {self.hidden_dim}"
            )


@dataclass
class CPNetOptions(ContextualOptions):
    """Options of ``cpnet.models.CPNet``."""

    share_fusion_encoder: bool = False  # one encoder before and after fusion
    fusion: str = "folded"  # folded | two_layer
    contextual_pyramid: bool = True  # False: the paper's "w/o CP"
    order: str = "swap"  # swap | none: how to decode an end before its start

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("model.fusion", self.fusion, ("folded", "two_layer"))
        check_choice("model.order", self.order, ("swap", "none"))


@dataclass
class VSLNetOptions(NetworkOptions):
    """Options of ``cpnet.models.VSLNet``."""

    hidden_dim: int = 128


@dataclass
class LGIOptions(NetworkOptions):
    """Options of ``cpnet.models.LGI``."""


@dataclass
class TwoDTANOptions(NetworkOptions):
    """Options of ``cpnet.models.TwoDTAN``."""


@dataclass
class TMLGAOptions(NetworkOptions):
    """Options of ``cpnet.models.TMLGA``."""


@dataclass
class SnAGOptions(NetworkOptions):
    """Options of ``cpnet.models.SnAG``."""


@dataclass
class ABLROptions(NetworkOptions):
    """Options of ``cpnet.models.ABLR``."""


@dataclass
class CPNetPlusOptions(ContextualOptions):
    """Options of ``cpnet.models.CPNetPlus``."""

    encoder: EncoderOptions = field(default_factory=lambda: EncoderOptions(kernel_size=7, conv_layers=2, num_heads=4))
    pyramid_levels: int = 4
    cam: CAMOptions = field(default_factory=lambda: CAMOptions(scale=True, separate_values=True))
    fusion_encoder: bool = True  # a second encoder, between fusion and pyramid
    top_down: bool = True  # add coarser levels to finer ones
    radius: float = 1.5  # clips of its level, from a moment's centre, within which a clip learns its span
    quality_weight: float = 4.0
    alignment_weight: float = 1.0  # of the sentence with the clips, against all clips of the batch

    def __post_init__(self) -> None:
        super().__post_init__()
        for key in ("radius", "quality_weight", "alignment_weight"):
            if not 0 <= getattr(self, key) < math.inf:
                raise ValueError(f"model.{key} must be finite and 0 or more; got {getattr(self, key)}")
