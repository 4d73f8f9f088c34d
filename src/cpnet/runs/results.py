"""results.json and the results table: the trained model beside the trivial predictors and the paper."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from cpnet.errors import DataError, cut
from cpnet.evaluation.breakdown import Breakdown
from cpnet.evaluation.protocol import Protocol
from cpnet.evaluation.trivial import Trivial
from cpnet.files import write_json
from cpnet.runs.typed_json import parse

FILE = "results.json"


def run_folder(folder: Path) -> Path:
    """Return the run that wrote a folder of results: the parent, if it has a further test split, or the folder itself.

    >>> run_folder(Path("runs/0/test_ood")).as_posix(), run_folder(Path("runs/0")).as_posix()
    ('runs/0', 'runs/0')
    """
    is_run = any((folder / name).exists() for name in ("config.yaml", ".hydra"))  # a run may have any name
    return folder.parent if folder.name.startswith("test_") and not is_run else folder


@dataclass(frozen=True, kw_only=True)
class Validation:
    """How the tested checkpoint was chosen: the monitored metric, its score, and the epoch, counted from 0."""

    monitor: str
    score: float
    epoch: int


@dataclass(frozen=True, kw_only=True)
class ForwardCost:
    """Cost of predicting: 10^9 floating-point operations a pair, of which a multiply-add is two, and pairs a second.

    Of a whole test batch; a model that encodes each video once shares that cost among the pairs of the video.
    """

    gflop: float
    pairs_per_sec: float


@dataclass(frozen=True, kw_only=True)
class Results:
    """Content of results.json.

    Attributes:
        experiment: name of the experiment, None without one
        model: name of the model's preset
        metrics: metrics in per cent, by key such as ``R1@0.5``; empty if the split has no true windows
        reversed: per cent of raw predictions whose end lies before their start
        pairs: number of predicted pairs
        validation: how the checkpoint was chosen; None for a run of ``cpnet.evaluate``
        trivial: trivial predictors by name
        paper: the paper's metrics for the same corpus and features; empty if it has none
        paper_model: the paper's model that has the metrics ``paper``
        protocol: the conditions of the measurement
        parameters: number of trained parameters
        init_from: path of the checkpoint with whose weights the training began, None without one
        seed: seed of the run
        precision: Lightning's name of the precision
        compiled: whether the model was compiled
        seconds: wall time of ``fit``, over all starts of the run, and of ``test``, with the passes that measure
            ``forward``; ``fit_cpu`` is processor time of the first process, without those that load data
        versions: versions of the packages that can change a result, by name
        device: name of the GPU, or ``cpu``
        forward: cost of predicting; None if not measured
        breakdown: metrics by group of pairs, without the discounted ones; empty if the split has no true windows
        git_commit: commit of the checkout, with ``+changes`` if files differ from it; None outside of a checkout
    """

    experiment: str | None
    model: str
    metrics: Mapping[str, float]
    reversed: float
    pairs: int
    validation: Validation | None
    trivial: Mapping[str, Trivial]
    paper: Mapping[str, float]
    paper_model: str
    protocol: Protocol
    parameters: int
    init_from: str | None
    seed: int
    precision: str
    compiled: bool
    seconds: Mapping[str, float]
    versions: Mapping[str, str]
    device: str
    git_commit: str | None
    forward: ForwardCost | None = None
    breakdown: Breakdown = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Write results.json into a run's folder, atomically."""
        write_json(folder / FILE, asdict(self))

    @classmethod
    def read(cls, folder: Path) -> Results:
        """Read results.json of a run's folder, which may be untrusted.

        Raises:
            DataError: the file is missing or malformed
        """
        try:
            return parse(cls, json.loads((folder / FILE).read_bytes()))
        except (OSError, ValueError, RecursionError) as error:
            raise DataError(
                f"{folder / FILE} cannot be read ({cut(str(error), 400)}); rerun cpnet.train or cpnet.evaluate"
            ) from error
