"""Read finished runs from disk, recompute their metrics from their predictions, and list the unusable folders."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from cpnet.errors import DataError, cut
from cpnet.evaluation.functional import Floats
from cpnet.evaluation.names import pair_scores
from cpnet.options import MetricsOptions
from cpnet.runs.pairs import read_pairs
from cpnet.runs.predictions import FILE
from cpnet.runs.results import Results, run_folder
from cpnet.terminal import track

TOLERANCE = 0.005  # per cent, between results.json and the metrics recomputed from predictions.jsonl


@dataclass(frozen=True, eq=False)
class Run:
    """A finished run.

    Attributes:
        folder: RUN, or RUN/test_NAME for a further test split
        results: content of results.json
        config: content of config.yaml
        pairs: hash of the test pairs: identifiers, true windows and durations
        windows: true windows in fractions of their videos, in order of qid, as in ``GroundingBatch``. Shape: (N, K, 2)
        scores: score of each pair by metric, in [0, 1], in order of qid; ``mIoU`` is the IoU. Shape: (N,) each
        curves: values of metrics.csv by column and epoch
    """

    folder: Path
    results: Results
    config: Mapping[str, Any]
    pairs: str
    windows: Floats
    scores: Mapping[str, Floats]
    curves: Mapping[str, Mapping[int, float]]


@dataclass(frozen=True)
class Gathered:
    """Usable runs in natural order, the reason of each unusable folder, and the runs of the baseline's experiment."""

    runs: Sequence[Run]
    left_out: Mapping[Path, str]
    baseline: Sequence[Run]


def gather(roots: Sequence[Path], *, experiment: str | None = None, baseline_from: str | None = None) -> Gathered:
    """Read all runs below some folders.

    Args:
        roots: folders to search
        experiment: read only the runs of this experiment
        baseline_from: another experiment, whose runs are returned as ``Gathered.baseline``

    Raises:
        DataError: a folder is missing or has no usable run; the message lists what was found
    """
    runs: list[Run] = []
    baseline: list[Run] = []
    left_out: dict[Path, str] = {}
    seen: Counter[str] = Counter()
    folders = find(roots)
    for folder in track(folders, "reading runs"):
        config = {}
        try:
            run = run_folder(folder)
            config = _read_config(run)
            if not (run / "results.json").is_file():
                if folder != run and run in folders:
                    continue  # the run itself is listed
                raise DataError("unfinished: results.json is missing")
            results = Results.read(folder)
            seen[results.experiment or "no experiment"] += 1
            if results.experiment and results.experiment == baseline_from:
                baseline.append(_read_run(folder, results, config, curves=run))
            elif experiment in (None, results.experiment):
                runs.append(_read_run(folder, results, config, curves=run))
        except DataError as error:
            if not config or experiment is None or config.get("experiment_name") in (experiment, baseline_from):
                named = f"{config['run_name']}: " if config.get("run_name") else ""
                left_out[folder] = f"{named}{error}"
    for found, wanted in ((runs, experiment), (baseline, baseline_from)):
        if not found and (wanted or found is runs):
            subject = f"no run of experiment={wanted}" if wanted else "no usable run"
            lines = [f"{subject} below {', '.join(map(str, roots))}; set runs=FOLDER to the outputs of cpnet.train"]
            counts = [f"{name} ({count} runs)" for name, count in sorted(seen.items())]
            lines += [f"found: {', '.join(counts) or 'no finished run'}"]
            lines += [f"{folder}: {reason}" for folder, reason in [*left_out.items()][:10]]
            raise DataError("\n  ".join(lines))
    return Gathered(runs, left_out | dict(_missing_jobs(folders, experiment)), baseline)


def find(roots: Sequence[Path]) -> list[Path]:
    """List the folders of runs in natural order: 10 after 9.

    Raises:
        DataError: a root is missing
    """
    found: dict[Path, Path] = {}
    for root in roots:
        if not root.is_dir():
            raise DataError(f"runs={root}: no such folder; runs=FOLDER must contain runs of cpnet.train")
        for folder, inner, files in os.walk(root):
            # Hidden folders hold Hydra's copies of the configuration; "earlier" the replaced jobs of a sweep.
            skipped = ("checkpoints", "earlier" if "multirun.yaml" in files else "")
            inner[:] = [name for name in inner if not name.startswith(".") and name not in skipped]
            if "results.json" in files or "config.yaml" in files:
                found[Path(folder).resolve()] = Path(folder)
    return sorted(found.values(), key=natural)


def natural(folder: Path) -> list[str]:
    """Return a sort key for natural order, in which numbers within names are sorted by value.

    >>> sorted([Path("job10"), Path("job9"), Path("job1")], key=natural)[1].name
    'job9'
    """
    return [part.zfill(20) if part.isdecimal() else part for part in re.split(r"(\d+)", str(folder))]


def _missing_jobs(folders: Sequence[Path], experiment: str | None) -> Iterator[tuple[Path, str]]:
    """Yield the folder and the reason of each job of the folders' sweeps that has no run yet."""
    for sweep in sorted({folder.parent for folder in folders}, key=natural):
        with suppress(OSError, ValueError, LookupError, TypeError, AttributeError):  # jobs.json is missing or malformed
            noted = json.loads((sweep / "jobs.json").read_bytes())
            if experiment in (None, noted["experiment"]):
                for number, job in noted["jobs"].items():
                    if number.isdecimal() and not (sweep / number / "config.yaml").is_file():
                        yield sweep / number, f"no run yet: {job}; rerun the sweep with sweep.resume=true"


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / "config.yaml"
    if not path.is_file():
        raise DataError("config.yaml is missing; reports show only runs of cpnet.train")
    try:
        config = OmegaConf.to_container(OmegaConf.load(path))
    except (OSError, ValueError, yaml.YAMLError, OmegaConfBaseException) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"config.yaml cannot be read: {cut(first)}") from None
    if not isinstance(config, dict) or not isinstance(config.get("metrics"), dict):
        raise DataError("config.yaml has no metrics")
    return {str(key): value for key, value in config.items()}


def _read_run(folder: Path, results: Results, config: dict[str, Any], *, curves: Path) -> Run:
    if not results.metrics:
        raise DataError(f"its {results.protocol.split} split has no true windows, so it has predictions but no metrics")
    pairs = read_pairs(folder / FILE)
    qids, duration, windows = pairs.qids, pairs.durations, pairs.windows
    try:
        scores = pair_scores(MetricsOptions(**config["metrics"]), pairs.ranked, windows, duration)
    except (TypeError, ValueError) as error:
        raise DataError(f"config.yaml: metrics cannot be computed: {cut(str(error))}") from None
    for key, score in scores.items():
        recomputed, stated = 100 * float(score.mean()), results.metrics.get(key)
        if stated is None or not abs(stated - recomputed) <= TOLERANCE:
            raise DataError(f"predictions.jsonl yields {key} = {recomputed:.3f}, but results.json states {stated}")
    if len(qids) != results.pairs:
        raise DataError(f"predictions.jsonl has {len(qids)} pairs, but results.json states {results.pairs}")
    return Run(
        folder=folder,
        results=results,
        config=config,
        pairs=hashlib.sha256(duration.tobytes() + windows.tobytes() + repr(qids).encode()).hexdigest(),
        windows=windows / duration[:, None, None],
        scores=scores,
        curves=_read_curves(curves / "metrics.csv"),
    )


def _read_curves(path: Path) -> dict[str, dict[int, float]]:
    """Read the curves, skipping malformed lines: a run without curves still has its row."""
    curves: defaultdict[str, dict[int, float]] = defaultdict(dict)
    if path.is_file():
        with path.open(encoding="utf-8", errors="replace", newline="") as stream:
            for line in csv.DictReader(stream):
                for column in ("train/loss", "val/mIoU"):
                    with suppress(KeyError, TypeError, ValueError):
                        curves[column][int(line["epoch"])] = float(line[column])
    return dict(curves)
