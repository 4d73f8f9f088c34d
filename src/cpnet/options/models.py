"""Options of the models. A wrong value raises a ``ValueError`` that names its key."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from cpnet.options.checks import check_choice, check_odd, check_positive, check_share, check_weight


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
        check_odd("model.encoder.kernel_size", self.kernel_size)
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
class EncodingOptions(NetworkOptions):
    """Options of models with a ``FeatureEncoder``."""

    position: str = "sinusoid"  # sinusoid | learned
    max_length: int = 128  # of videos and queries, for learned positions
    encoder: EncoderOptions = field(default_factory=EncoderOptions)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("model.position", self.position, ("sinusoid", "learned"))
        check_positive("model.max_length", self.max_length)
        heads = self.encoder.num_heads
        if heads < 1 or self.hidden_dim % heads:
            raise ValueError(
                "model.encoder.num_heads must be a positive divisor of model.hidden_dim; "
                f"got {heads} and {self.hidden_dim}"
            )


@dataclass
class ContextualOptions(EncodingOptions):
    """Options of the encoders and the pyramid that CPNet and CPNetPlus share."""

    centre: bool = False  # subtract each video's mean clip and scale the rest; not in the paper; for single frames
    pyramid_levels: int = 3  # P, 1 to 8
    context_aware: bool = True  # False: the paper's "w/o CAM"
    cam: CAMOptions = field(default_factory=CAMOptions)
    downsample: str = "max"  # max | avg | conv

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("model.downsample", self.downsample, ("max", "avg", "conv"))
        if not 1 <= self.pyramid_levels <= 8:
            raise ValueError(f"model.pyramid_levels must be 1 to 8; got {self.pyramid_levels}")


@dataclass
class CPNetOptions(ContextualOptions):
    """Options of ``cpnet.models.CPNet``."""

    share_fusion_encoder: bool = False  # one encoder before and after fusion
    fusion: str = "folded"  # folded | two_layer
    contextual_pyramid: bool = True  # False: the paper's "w/o CP"
    upsample: str = "nearest"  # nearest | linear
    order: str = "swap"  # swap | none: how to decode an end before its start

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("model.fusion", self.fusion, ("folded", "two_layer"))
        check_choice("model.upsample", self.upsample, ("nearest", "linear"))
        check_choice("model.order", self.order, ("swap", "none"))


@dataclass
class VSLNetOptions(EncodingOptions):
    """Options of ``cpnet.models.VSLNet``."""

    hidden_dim: int = 128
    position: str = "learned"
    encoder: EncoderOptions = field(default_factory=lambda: EncoderOptions(kernel_size=7))
    extension: float = 0.1  # by which the highlighted clips extend a moment at either side, as a share of its length
    highlight_weight: float = 5.0  # of the highlighting loss
    predictions: int = 5  # N
    nms_iou: float = 0.5  # IoU with a better prediction above which one is not ranked

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("model.predictions", self.predictions)
        check_weight("model.extension", self.extension)
        check_weight("model.highlight_weight", self.highlight_weight)
        check_share("model.nms_iou", self.nms_iou)


@dataclass
class LGIOptions(NetworkOptions):
    """Options of ``cpnet.models.LGI``. Their defaults are those for Charades-STA."""

    dropout: float = 0.5
    max_length: int = 128  # number of learned positions of clips
    phrases: int = 3  # semantic phrases of a query
    kernel_size: int = 15  # of the local convolutions, odd
    global_blocks: int = 2  # of self-attention over the video
    num_heads: int = 4  # of each block, a divisor of hidden_dim
    activation: str = "relu"  # relu | sigmoid, of the span; the public code has sigmoid for ActivityNet
    distinct: float = 0.3  # lambda of the loss that keeps phrases distinct; larger: fewer words a phrase

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("model.activation", self.activation, ("relu", "sigmoid"))
        check_odd("model.kernel_size", self.kernel_size)
        check_positive("model.max_length", self.max_length)
        check_positive("model.phrases", self.phrases)
        if self.global_blocks < 0:
            raise ValueError(f"model.global_blocks must be 0 or more; got {self.global_blocks}")
        if self.hidden_dim % 2 or self.num_heads < 1 or self.hidden_dim % self.num_heads:
            raise ValueError(
                "model.hidden_dim must be even and divisible by model.num_heads; "
                f"got {self.hidden_dim} and {self.num_heads}"
            )
        check_share("model.distinct", self.distinct)


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
    nms_iou: float = 0.45  # IoU with a better moment above which a moment is not ranked
    predictions: int = 5  # N

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("model.moments", self.moments, ("pool", "conv"))
        for key in ("rows", "lstm_layers", "conv_layers", "predictions"):
            check_positive(f"model.{key}", getattr(self, key))
        check_odd("model.kernel_size", self.kernel_size)
        if not 0 <= self.min_iou < self.max_iou <= 1:
            raise ValueError(f"model.min_iou and max_iou must rise within 0 to 1; got {self.min_iou}, {self.max_iou}")
        check_share("model.nms_iou", self.nms_iou)


@dataclass
class TMLGAOptions(NetworkOptions):
    """Options of ``cpnet.models.TMLGA``."""

    dropout: float = 0.5  # between the layers of the localisation
    label_width: float = 1.0  # standard deviation of the soft labels in clips

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.hidden_dim % 2:
            raise ValueError(f"model.hidden_dim must be even; got {self.hidden_dim}")
        if not 0 < self.label_width < math.inf:
            raise ValueError(f"model.label_width must be positive and finite; got {self.label_width}")


@dataclass
class SnAGOptions(NetworkOptions):
    """Options of ``cpnet.models.SnAG``; the values are those of its code for Charades-STA."""

    hidden_dim: int = 256  # D, of the video
    text_dim: int = 128  # E, of the query
    num_heads: int = 4  # H, a divisor of both
    dropout: float = 0.1
    drop_path: float = 0.1  # probability with which training drops a residual branch
    text_layers: int = 5
    embedding_layers: int = 2  # convolutions before the transformer of the video
    stem_layers: int = 1  # transformer layers before the first level
    levels: int = 6  # P
    window: int = 5  # clips of local attention, odd; 0 for all clips
    fusion_layers: int = 2
    normalise: bool = False  # adaptive layer norm instead of a plain scale and shift
    head_layers: int = 2
    regression_range: float = 8  # clips from a point to the farther end, at most, at level 0; doubles per level
    range_overlap: float = 0.5  # the range of each level begins at this share of the end of the one below
    centre_radius: float = 1.5  # strides between a positive point and the centre of the moment, at most
    label_smoothing: float = 0.2
    positives: float = 400  # positive points of a batch, the first value of their running mean
    predictions: int = 5  # N
    nms_sigma: float = 0.9  # of soft-NMS
    voting_iou: float = 0.95  # least IoU of spans that are averaged

    def __post_init__(self) -> None:
        super().__post_init__()
        for key in ("num_heads", "text_dim", "levels", "predictions"):
            check_positive(f"model.{key}", getattr(self, key))
        for key in ("hidden_dim", "text_dim"):
            if (width := getattr(self, key)) % 2 or width % self.num_heads:
                raise ValueError(f"model.{key} must be even and a multiple of model.num_heads; got {width}")
        if self.window:
            check_odd("model.window", self.window)
        for key in ("text_layers", "embedding_layers", "stem_layers", "fusion_layers", "head_layers"):
            check_weight(f"model.{key}", getattr(self, key))
        for key in ("label_smoothing", "range_overlap", "voting_iou"):
            check_share(f"model.{key}", getattr(self, key))
        if not 0 <= self.drop_path < 1:
            raise ValueError(f"model.drop_path must be at least 0 and below 1; got {self.drop_path}")
        for key in ("regression_range", "centre_radius", "positives", "nms_sigma"):
            if not 0 < getattr(self, key) < math.inf:
                raise ValueError(f"model.{key} must be positive and finite; got {getattr(self, key)}")


@dataclass
class ABLROptions(NetworkOptions):
    """Options of ``cpnet.models.ABLR``."""

    hidden_dim: int = 256
    dropout: float = 0.5  # of the states of the LSTMs
    bins: int = 128  # parts of the video whose weights the regression reads
    regression_dim: int = 64  # width between the two layers of the regression
    attention_weight: float = 5.0  # of the calibration loss
    regression_weight: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("model.bins", self.bins)
        check_positive("model.regression_dim", self.regression_dim)
        check_weight("model.attention_weight", self.attention_weight)
        check_weight("model.regression_weight", self.regression_weight)


@dataclass
class CPNetPlusOptions(ContextualOptions):
    """Options of ``cpnet.models.CPNetPlus``."""

    encoder: EncoderOptions = field(default_factory=lambda: EncoderOptions(kernel_size=7, conv_layers=2, num_heads=4))
    pyramid_levels: int = 4
    cam: CAMOptions = field(default_factory=lambda: CAMOptions(scale=True))
    patch: int = 2  # consecutive clips that are projected together to one step
    radius: float = 1.5  # a step learns its span if the moment's centre is at most this many sizes of a step away
    quality_weight: float = 4.0
    without: list[str] = field(default_factory=list)  # names of PLUS_PARTS to leave out

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("model.patch", self.patch)
        check_weight("model.radius", self.radius)
        check_weight("model.quality_weight", self.quality_weight)
        for part in self.without:
            check_choice("model.without", part, PLUS_PARTS)
        self.context_aware &= "context" not in self.without


PLUS_PARTS = (
    "channel_gate",  # the sentence weighs the channels of the features
    "context",  # CAM on every level
    "refinement",  # answers read the finest level at their start, end and inside, and correct themselves
    "consensus",  # the first answer is the one with which all agree most
)
