"""Options of corpora, features, word vectors and sampling."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from cpnet.options.checks import MISSING


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
    name: str = ""  # I3D or C3D in papers: reports show published rows with the same features
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


@dataclass
class SamplingOptions:
    """Options of the sampling policies in ``cpnet.data.sampling``."""

    _target_: str = MISSING
    clips: int = 128  # T
