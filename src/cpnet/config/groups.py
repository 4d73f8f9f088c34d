"""Types of the keys of every group."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from omegaconf import II, MISSING


@dataclass
class SourceConfig:
    """One source of features: a pack as somebody published it."""

    path: str = MISSING  # an HDF5 file or a folder
    layout: str = "auto"  # hdf5 | hdf5_flat | hdf5_group | npy | npz | pt | windows | packed
    key: str | None = None  # inner dataset of each group of an HDF5 file, or array of each .npz
    window: int = 64  # frames, of the windows that are taken
    normalise: bool = False  # each row divided by its L2 norm


@dataclass
class FeaturesConfig(SourceConfig):
    """Where a corpus's video features lie and what they are."""

    concat: list[SourceConfig] = field(default_factory=list)  # further sources, whose columns follow
    dim: int = MISSING  # V, of all sources together
    packed: str | None = None  # the packed store; beside path unless set
    residence: str = "auto"  # auto | disk | memory | device
    holds: str = ""  # what the file must hold, for whoever has to find it
    published: str = ""  # where it is published


@dataclass
class WordVectorsConfig:
    """GloVe's text file, or a cut of it with the corpus's words, which serves where the whole file is absent."""

    path: str = "${data_dir}/glove/glove.6B.300d.txt"
    subset: str | None = None
    dim: int = 300  # W
    published: str = "nlp.stanford.edu/projects/glove: glove.6B.zip"


@dataclass
class GenerateConfig:
    """Keys of ``cpnet.data.synthetic.SyntheticCorpus``."""

    _target_: str = "cpnet.data.synthetic.SyntheticCorpus"
    folder: str = MISSING
    annotations: str = "charades_sta"
    layout: str = "hdf5_flat"
    videos: int = 400
    actions: int = 12
    dim: int = II("dataset.features.dim")
    word_dim: int = II("dataset.word_vectors.dim")
    rate: float = 2.0
    noise: float = 0.3
    seed: int = 0  # not the run's seed: seeds are compared on the same corpus


@dataclass
class DatasetConfig:
    """A corpus: who reads its annotations, its files, and the policy on its defects."""

    name: str = MISSING
    reader: Any = MISSING  # a function of one split's files
    splits: dict[str, dict[str, str]] = MISSING  # train, val (unless held out), test: arguments of the reader
    published: str = ""  # where the annotations are published
    validation: str = "holdout"  # file | holdout | test
    holdout_fraction: float = 0.1
    holdout_seed: int = 0  # not the run's seed: seeds are compared on the same split
    on_defect: str = "error"  # error | drop, of reversed and empty pairs in evaluation splits
    ground_truth: str = "clipped"  # clipped | raw times in evaluation
    blind: str = "none"  # none | video | query: what the model is not given
    max_words: int = 50
    features: FeaturesConfig = field(default_factory=FeaturesConfig)
    word_vectors: WordVectorsConfig = field(default_factory=WordVectorsConfig)
    paper: dict[str, dict[str, float]] = field(default_factory=dict)  # the paper's numbers, by model preset
    generate: GenerateConfig | None = None  # makes the corpus when it is not there


@dataclass
class EncoderConfig:
    """Keys of both feature encoders."""

    kernel_size: int = 15
    conv_layers: int = 4
    num_heads: int = 8


@dataclass
class CAMConfig:
    """Keys of the context-aware modules."""

    diagonal: str = "both"  # both | once
    scale: bool = False
    separate_values: bool = False


@dataclass
class CPNetConfig:
    """Keys of ``cpnet.models.CPNet``."""

    _target_: str = "cpnet.models.CPNet"
    video_dim: int = MISSING
    hidden_dim: int = 512
    dropout: float = 0.2
    position: str = "sinusoid"  # sinusoid | learned
    max_length: int = 128
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    share_fusion_encoder: bool = False
    fusion: str = "folded"  # folded | two_layer
    contextual_pyramid: bool = True
    pyramid_levels: int = 3  # 1 to 8
    context_aware: bool = True
    cam: CAMConfig = field(default_factory=CAMConfig)
    downsample: str = "max"  # max | avg | conv
    upsample: str = "nearest"  # nearest | linear
    order: str = "swap"  # swap | none


@dataclass
class LossConfig:
    """Keys of ``cpnet.losses.GroundingLoss``."""

    _target_: str = "cpnet.losses.GroundingLoss"
    attention_weight: float = 1.0
    regression_weight: float = 1.0
    attention_normalizer: str = "target"  # target | literal


@dataclass
class OptimizerConfig:
    """Keys that every optimiser takes; others are added by its yaml."""

    _target_: str = MISSING
    _partial_: bool = True
    lr: float = 1e-4
    weight_decay: float = 0.0


@dataclass
class AdamConfig(OptimizerConfig):
    """Keys of Adam and AdamW."""

    betas: tuple[float, float] = (0.9, 0.999)
    fused: bool = True  # all parameters in one kernel


@dataclass
class SchedulerConfig:
    """Keys of the learning-rate schedules of ``cpnet.schedules``."""

    _target_: str = MISSING
    _partial_: bool = True
    warmup: float = 0.0  # share of the steps


@dataclass
class SamplingConfig:
    """Keys of the policies of ``cpnet.data.sampling``."""

    _target_: str = MISSING
    clips: int = 128  # T


@dataclass
class TrainerConfig:
    """Keys of ``pytorch_lightning.Trainer`` that are set here; any other of its arguments is added with ``+``."""

    _target_: str = "pytorch_lightning.Trainer"
    accelerator: str = "auto"
    devices: Any = 1
    num_nodes: int = 1
    strategy: str = "auto"
    precision: str = "auto"  # auto | 32-true | bf16-mixed | 16-mixed; auto is bf16-mixed where the processor has it
    compile: str = "auto"  # true | false | auto; auto compiles the model of a training of more than minutes
    compile_cache: str = "outputs/.compiled"  # what was compiled, for the next run
    max_epochs: int = II("epochs")
    gradient_clip_val: float | None = 0.5
    accumulate_grad_batches: int = 1
    effective_batch_size: int | None = None  # pairs of a step: sets accumulate_grad_batches, by batch_size x processes
    log_every_n_steps: int = 50
    num_sanity_val_steps: int = 0
    check_val_every_n_epoch: int = 1
    limit_train_batches: int | float | None = None  # a number of batches, or a share
    limit_val_batches: int | float | None = None  # a number of batches, or a share
    limit_test_batches: int | float | None = None  # a number of batches, or a share
    deterministic: bool = False  # GPUs too give the same bits again; compile=auto then means false
    use_distributed_sampler: bool = False  # Lightning's pads: it would count pairs twice; the DataModule shards
    enable_progress_bar: bool = True
    enable_model_summary: bool = False


@dataclass
class MetricsConfig:
    """Keys of ``cpnet.metrics.grounding_metrics``."""

    recall_at: list[int] = field(default_factory=lambda: [1])
    thresholds: list[float] = field(default_factory=lambda: [0.3, 0.5, 0.7])
    strict: bool = False  # IoU > m instead of >= m
    discounted: bool = True
