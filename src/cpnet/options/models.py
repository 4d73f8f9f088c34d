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
    """Options of ``cpnet.models.TwoDTAN``."""


@dataclass
class TMLGAOptions(NetworkOptions):
    """Options of ``cpnet.models.TMLGA``."""


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
        if self.num_heads < 1:
            raise ValueError(f"model.num_heads must be 1 or more; got {self.num_heads}")
        for key in ("hidden_dim", "text_dim"):
            if (width := getattr(self, key)) % 2 or width % self.num_heads:
                raise ValueError(f"model.{key} must be even and a multiple of model.num_heads; got {width}")
        if self.window < 0 or (self.window and self.window % 2 == 0):
            raise ValueError(f"model.window must be odd, or 0 for all clips; got {self.window}")
        layers = dict.fromkeys(
            ("text_layers", "embedding_layers", "stem_layers", "fusion_layers", "head_layers"), (0, 99)
        )
        shares = dict.fromkeys(("drop_path", "label_smoothing"), (0.0, 0.99))
        positive = dict.fromkeys(("regression_range", "centre_radius", "positives", "nms_sigma"), (1e-3, 1e6))
        for key, (least, most) in (layers | shares | positive | {"levels": (1, 12), "predictions": (1, 100)}).items():
            if not least <= getattr(self, key) <= most:
                raise ValueError(f"model.{key} must lie between {least} and {most}; got {getattr(self, key)}")


@dataclass
class ABLROptions(NetworkOptions):
    """Options of ``cpnet.models.ABLR``."""


@dataclass
class CPNetPlusOptions(NetworkOptions):
    """Options of ``cpnet.models.CPNetPlus``."""
