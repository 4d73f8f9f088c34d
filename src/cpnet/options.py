"""Options of all objects, with types and defaults.

Each dataclass is the schema of a configuration group, and usually also the argument of a constructor, so that a default
is written once. Imports only the standard library.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

MISSING: Any = "???"  # OmegaConf: the configuration must set it


@dataclass
class SourceOptions:
    """One file or folder of video features."""

    path: Any = MISSING  # an HDF5 file, an .npz of all videos, or a folder; a list of them is read as one pack
    layout: str = "auto"  # hdf5 | hdf5_flat | hdf5_group | npy | npz | pt | windows | packed
    key: str | None = None  # inner dataset of each group of an HDF5 file, or array of each .npz
    window: int = 64  # length in frames of the windows to read; for layout=windows
    normalise: bool = False  # divide each row by its L2 norm
    transpose: bool = False  # the arrays are stored (V, N)


@dataclass
class FeatureOptions(SourceOptions):
    """The video features of a corpus."""

    concat: list[SourceOptions] = field(default_factory=list)  # further sources; their columns are appended
    dim: int = MISSING  # V, of all sources together
    packed: str | None = None  # path of the packed store; None: beside path
    pack: bool = True  # pack large features before training, and again if the store is outdated
    placement: str = "auto"  # auto | disk | memory | device: where the rows are during training
    holds: str = ""  # content of the file; printed if the file is missing
    published: str = ""  # where to get it; printed if the file is missing


@dataclass
class WordOptions:
    """A text file of word vectors in GloVe's format."""

    path: str = "${data_dir}/glove/glove.6B.300d.txt"
    subset: str | None = None  # a smaller file with the words of the corpus; used if path does not exist
    dim: int = 300  # W
    published: str = "nlp.stanford.edu/projects/glove: glove.6B.zip"


@dataclass
class SyntheticOptions:
    """Options of ``cpnet.data.corpora.synthetic.SyntheticCorpus``."""

    annotations: str = "charades_sta"  # charades_sta | jsonl
    layout: str = "hdf5_flat"  # hdf5_flat | npy
    videos: int = 400  # of all splits together, 10 or more
    actions: int = 12  # distinct actions, 5 to 12
    dim: int = 64  # V
    word_dim: int = 50  # W
    rate: float = 2.0  # rows of features per second
    noise: float = 0.3  # standard deviation of the noise, relative to the prototypes'
    seed: int = 0  # not the run's seed: runs of several seeds share one corpus


@dataclass
class RenderedOptions:
    """Options of ``cpnet.data.corpora.rendered.RenderedCorpus``."""

    videos: int = 300  # of all splits together, 10 or more
    longest_sec: float = 16.0  # of a video, 10 to 60; the shortest takes 10
    word_dim: int = 50  # W
    backbone: str | None = "efficientnet_lite0"  # extracts dataset.features.path from the videos; null: nothing does
    fps: float = 2.0  # rows of features per second
    seed: int = 0  # not the run's seed: runs of several seeds share one corpus


@dataclass
class DatasetOptions:
    """Annotations, features and word vectors of a corpus, and the policy on missing splits and defects."""

    name: str = MISSING
    reader: Any = MISSING  # reads the files of one split
    splits: dict[str, dict[str, str]] = MISSING  # train, val (if validation=file), test: arguments of the reader
    published: str = ""  # where to get the annotations; printed if a file is missing
    validation: str = "holdout"  # file | holdout | test
    holdout_fraction: float = 0.1
    holdout_seed: int = 0  # not the run's seed: runs of several seeds share one split
    on_defect: str = "error"  # error | drop; what to do with reversed and empty windows of evaluation splits
    on_missing: str = "error"  # error | drop; drop train and val pairs without features, count those of test as missed
    ground_truth: str = "clipped"  # clipped | raw; whether true windows of evaluation splits are clipped to the video
    time_unit: str | None = None  # seconds | milliseconds | percent | fractions; null: seconds, if they look like it
    blind: str = "none"  # none | video | query; input that is hidden from the model
    max_words: int = 50  # longer queries are cut
    features: FeatureOptions = field(default_factory=FeatureOptions)
    word_vectors: WordOptions = field(default_factory=WordOptions)
    paper: dict[str, dict[str, float]] = field(default_factory=dict)  # the paper's numbers, by model preset
    generate: Any = None  # the corpus to write if it does not exist


def check_choice(key: str, value: object, choices: tuple[str, ...]) -> None:
    """Raise a ``ValueError`` that names the key unless the value is one of its choices."""
    if value not in choices:
        raise ValueError(f"{key} must be one of {', '.join(choices)}; got {value!r}")


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
class CPNetOptions:
    """Options of ``cpnet.models.CPNet``. A wrong value raises a ``ValueError`` that names its key."""

    hidden_dim: int = 512  # D
    dropout: float = 0.2
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
        check_choice("model.position", self.position, ("sinusoid", "learned"))
        check_choice("model.fusion", self.fusion, ("folded", "two_layer"))
        check_choice("model.downsample", self.downsample, ("max", "avg", "conv"))
        check_choice("model.upsample", self.upsample, ("nearest", "linear"))
        check_choice("model.order", self.order, ("swap", "none"))
        if self.hidden_dim < 2:
            raise ValueError(f"model.hidden_dim must be 2 or more; got {self.hidden_dim}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"model.dropout must be at least 0 and below 1; got {self.dropout}")
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
class LossOptions:
    """Options of ``cpnet.training.losses.GroundingLoss``. A wrong value raises a ``ValueError`` that names its key."""

    attention_weight: float = 1.0
    regression_weight: float = 1.0
    attention_normalizer: str = "target"  # target | literal, the paper's

    def __post_init__(self) -> None:
        check_choice("loss.attention_normalizer", self.attention_normalizer, ("target", "literal"))
        for key in ("attention_weight", "regression_weight"):
            if not 0 <= getattr(self, key) < math.inf:
                raise ValueError(f"loss.{key} must be finite and 0 or more; got {getattr(self, key)}")


@dataclass
class OptimizerOptions:
    """Options of every optimiser. The yaml of an optimiser may add others."""

    _target_: str = MISSING
    _partial_: bool = True
    lr: float = 1e-4
    weight_decay: float = 0.0


@dataclass
class AdamOptions(OptimizerOptions):
    """Options of Adam and AdamW."""

    betas: tuple[float, float] = (0.9, 0.999)
    fused: bool = True  # update all parameters in one kernel


@dataclass
class SchedulerOptions:
    """Options of the schedules in ``cpnet.training.schedules``."""

    _target_: str = MISSING
    _partial_: bool = True
    warmup: float = 0.0  # share of the steps


@dataclass
class SamplingOptions:
    """Options of the sampling policies in ``cpnet.data.sampling``."""

    _target_: str = MISSING
    clips: int = 128  # T


@dataclass
class TrainerOptions:
    """Arguments of ``pytorch_lightning.Trainer``. Add others with ``+trainer.KEY=VALUE``."""

    _target_: str = "pytorch_lightning.Trainer"
    accelerator: str = "auto"
    devices: Any = 1
    num_nodes: int = 1
    strategy: str = "auto"
    precision: str = "auto"  # auto | 32-true | bf16-mixed | 16-mixed; auto is bf16-mixed if the device supports it
    compile: str = "auto"  # true | false | auto: long trainings on NVIDIA GPUs
    compile_cache: str = "outputs/.compiled"  # folder of compiled programs, reused by later runs
    max_epochs: int = "${epochs}"  # type: ignore[assignment]
    gradient_clip_val: float | None = 0.5
    accumulate_grad_batches: int = 1
    effective_batch_size: int | None = None  # pairs per step; sets accumulate_grad_batches
    log_every_n_steps: int = 50
    num_sanity_val_steps: int = 0
    check_val_every_n_epoch: int = 1
    limit_train_batches: int | float | None = None  # a number of batches or a fraction
    limit_val_batches: int | float | None = None  # a number of batches or a fraction
    limit_test_batches: int | float | None = None  # a number of batches or a fraction
    deterministic: bool = False  # bit-identical runs on GPUs too
    use_distributed_sampler: bool = False  # the DataModule shards; Lightning's sampler would duplicate pairs
    detect_anomaly: bool = False  # name the operation that causes a non-finite gradient; slow
    enable_progress_bar: bool = True
    enable_model_summary: bool = False


@dataclass
class MetricsOptions:
    """Options of ``cpnet.evaluation.metrics.grounding_metrics``."""

    recall_at: list[int] = field(default_factory=lambda: [1])  # every n of R@n,IoU=m; no more than the model ranks
    thresholds: list[float] = field(default_factory=lambda: [0.3, 0.5, 0.7])  # every m, in (0, 1]
    strict: bool = False  # IoU > m instead of >= m
    discounted: bool = True  # also compute dR@n,IoU@m
