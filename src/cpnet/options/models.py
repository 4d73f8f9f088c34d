"""Options of the models. A wrong value raises a ``ValueError`` that names its key."""

from __future__ import annotations

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
class CPNetOptions(NetworkOptions):
    """Options of ``cpnet.models.CPNet``."""

    centre: bool = False  # subtract each video's mean clip and scale the rest; not in the paper; for single frames
    position: str = "sinusoid"  # sinusoid | learned
    max_length: int = 128  # of videos and queries, for learned positions
    encoder: EncoderOptions = field(default_factory=EncoderOptions)
    share_fusion_encoder: bool = False  # one encoder before and after fusion
    fusion: str = "folded"  # folded | two_layer
    contextual_pyramid: bool = True  # False: the paper's "w/o CP"
    pyramid_levels: int = 3  # P, 1 to 8
    context_aware: bool = True  # False: the paper's "w/o CAM"
    cam: CAMOptions = field(default_factory=CAMOptions)
    downsample: str = "max"  # max | avg | conv
    upsample: str = "nearest"  # nearest | linear
    order: str = "swap"  # swap | none: how to decode an end before its start

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("model.position", self.position, ("sinusoid", "learned"))
        check_choice("model.fusion", self.fusion, ("folded", "two_layer"))
        check_choice("model.downsample", self.downsample, ("max", "avg", "conv"))
        check_choice("model.upsample", self.upsample, ("nearest", "linear"))
        check_choice("model.order", self.order, ("swap", "none"))
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
class VSLNetOptions(NetworkOptions):
    """Options of ``cpnet.models.VSLNet``."""

    hidden_dim: int = 128


@dataclass
class LGIOptions(NetworkOptions):
    """Options of ``cpnet.models.LGI``."""


@dataclass
class TwoDTANOptions(NetworkOptions):
    """Options of ``cpnet.models.TwoDTAN``, for Charades-STA."""

    dropout: float = 0.0  # of clips and words; the paper has none
    rows: int = 16  # of the map, the parts of a video in which moments start and end
    moments: str = "pool"  # pool | conv: how a moment's features come from those of its rows
    lstm_layers: int = 3
    kernel_size: int = 5  # of the convolutions of the map, odd
    conv_layers: int = 8
    min_iou: float = 0.5  # IoUs up to this one are no match in the loss
    max_iou: float = 1.0  # IoUs from this one are a whole match
    nms: float = 0.45  # IoU with a better moment above which a moment is not ranked
    number: int = 5  # N

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("model.moments", self.moments, ("pool", "conv"))
        for key in ("rows", "lstm_layers", "conv_layers", "number"):
            if getattr(self, key) < 1:
                raise ValueError(f"model.{key} must be 1 or more; got {getattr(self, key)}")
        if self.kernel_size < 1 or self.kernel_size % 2 == 0:
            raise ValueError(f"model.kernel_size must be odd and positive; got {self.kernel_size}")
        if not 0 <= self.min_iou < self.max_iou <= 1:
            raise ValueError(f"model.min_iou and max_iou must rise within 0 to 1; got {self.min_iou}, {self.max_iou}")
        if not 0 <= self.nms < 1:
            raise ValueError(f"model.nms must be at least 0 and below 1; got {self.nms}")


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
class CPNetPlusOptions(NetworkOptions):
    """Options of ``cpnet.models.CPNetPlus``."""
