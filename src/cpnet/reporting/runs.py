"""Runs on disk: which folders hold one, what it says, and whether its predictions say the same."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml  # type: ignore[import-untyped]
from numpy.typing import NDArray
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from cpnet.data.moment import DataError
from cpnet.metrics import grounding_metrics
from cpnet.metrics.mean_iou import PairMean

Floats = NDArray[np.float64]
Progress = Callable[[Sequence[str], str], Iterable[str]]
TOLERANCE = 0.005  # per cent; results.json and predictions.jsonl are of one test run
COMPARED = ("qid", "predicted", "true", "duration")  # of a pair; there may be a million
NEEDED = ("model", "metrics", "pairs", "trivial", "paper", "paper_model", "protocol", "parameters", "seed", "precision")


@dataclass(frozen=True, eq=False)
class Run:
    """A finished run.

    Attributes:
        folder: where it lies
        written: when results.json was written, in seconds
        results: results.json
        config: config.yaml
        pairs: a fingerprint of the test pairs: their names, true spans and durations
        true: the true spans in fractions of their videos, in order of qid. Shape: (N, 2)
        scores: score of each pair by metric, in [0, 1], in order of qid. Shape: (N,) each
        curves: what metrics.csv has of each epoch, by column
    """

    folder: Path
    written: float
    results: Mapping[str, Any]
    config: Mapping[str, Any]
    pairs: str
    true: Floats
    scores: Mapping[str, Floats]
    curves: Mapping[str, Mapping[int, float]]

    @property
    def iou(self) -> Floats:
        """IoU of the first prediction of each pair."""
        return self.scores["mIoU"]


@dataclass(frozen=True)
class LeftOut:
    """A folder that is in no table, and why."""

    folder: Path
    reason: str


@dataclass(frozen=True)
class Gathered:
    """What was found: usable runs, in natural order of their folders, and the others."""

    runs: tuple[Run, ...]
    left_out: tuple[LeftOut, ...]


def gather(roots: Sequence[Path], *, experiment: str | None = None, progress: Progress) -> Gathered:
    """Read every run below some folders.

    Args:
        roots: where to look
        experiment: take the runs of this one alone
        progress: wraps the folders while they are read

    Raises:
        DataError: a folder is not there, or holds no run that can be used; the message lists what was found
    """
    runs: list[Run] = []
    left_out: list[LeftOut] = []
    seen: Counter[str | None] = Counter()
    folders = find(roots)
    for name in progress([str(folder) for folder in folders], "reading runs"):
        folder = Path(name)
        config: dict[str, Any] = {}
        try:
            config = _read_config(folder)
            results = _read_results(folder)
            seen[results.get("experiment")] += 1
            if experiment in (None, results.get("experiment")):
                runs.append(_read_run(folder, results, config))
        except DataError as error:
            if not config or experiment in (None, config.get("experiment_name")):
                named = f"{config['run_name']}: " if config.get("run_name") else ""
                left_out.append(LeftOut(folder, f"{named}{error}"))
    if not runs:
        raise DataError(_nothing(roots, experiment, seen, left_out))
    return Gathered(tuple(runs), (*left_out, *_missing(folders, experiment)))


def find(roots: Sequence[Path]) -> list[Path]:
    """List the folders that a run wrote into, in natural order: 10 after 9.

    Raises:
        DataError: a folder is not there
    """
    for root in roots:
        if not root.is_dir():
            raise DataError(
                f"runs={root}: there is no such folder; runs=FOLDER names one that holds runs of cpnet.train"
            )
    found = {folder.resolve(): folder for root in roots for folder in _walk(root)}
    return sorted(found.values(), key=natural)


def _missing(folders: Sequence[Path], experiment: str | None) -> Iterator[LeftOut]:
    """Name the jobs of these folders' sweeps that have no run yet."""
    for sweep in sorted({folder.parent for folder in folders}, key=natural):
        with suppress(OSError, ValueError, LookupError, TypeError, AttributeError):  # a sweep of another kind
            noted = json.loads((sweep / "jobs.json").read_bytes())
            if experiment in (None, noted["experiment"]):
                for number, job in noted["jobs"].items():
                    if number.isdecimal() and sweep / number not in folders:
                        yield LeftOut(sweep / number, f"no run yet: {job}; the sweep with sweep.resume=true makes it")


def natural(folder: Path) -> list[tuple[int, int, str]]:
    """Key of a natural order: numbers within names by their value.

    >>> sorted([Path("job10"), Path("job9"), Path("job1")], key=natural)[1].name
    'job9'
    """
    parts = re.split(r"(\d+)", str(folder))
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts if part]


def _walk(root: Path) -> Iterator[Path]:
    for folder, inner, files in os.walk(root):
        # Hydra's copies of the configuration and the compiler's cache lie in hidden folders.
        aside = ("checkpoints", "earlier" if "multirun.yaml" in files else "")  # a sweep's jobs that were put aside
        inner[:] = [name for name in inner if not name.startswith(".") and name not in aside]
        if "results.json" in files or "config.yaml" in files:
            yield Path(folder)


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / "config.yaml"
    if not path.is_file():
        raise DataError(
            "no config.yaml, which cpnet.train writes; cpnet.evaluate measures a run that has a row already"
        )
    try:
        config = OmegaConf.to_container(OmegaConf.load(path))
    except (OSError, ValueError, yaml.YAMLError, OmegaConfBaseException) as error:
        raise DataError(f"config.yaml is damaged: {_first_line(error)}") from None
    if not isinstance(config, dict) or not isinstance(config.get("metrics"), dict):
        raise DataError("config.yaml is damaged: it has no metrics")
    return {str(key): value for key, value in config.items()}


def _read_results(folder: Path) -> dict[str, Any]:
    path = folder / "results.json"
    if not path.is_file():
        raise DataError("unfinished: there is a config.yaml but no results.json")
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"results.json is damaged: {_first_line(error)}") from None
    if not isinstance(results, dict):
        raise DataError("results.json is damaged: it is not an object")
    missing = [key for key in NEEDED if key not in results]
    if missing:
        raise DataError(f"results.json is damaged or of another version: it has no {', '.join(missing)}")
    return results


def _read_run(folder: Path, results: dict[str, Any], config: dict[str, Any]) -> Run:
    try:
        rows = _read_rows(folder / "predictions.jsonl")
        ranked, true = (torch.tensor([row[key] for row in rows], dtype=torch.float64) for key in ("predicted", "true"))
        duration = torch.tensor([row["duration"] for row in rows], dtype=torch.float64)
        scores = _scores(config["metrics"], ranked, true, duration)
        identity = [[row["qid"], row["true"], row["duration"]] for row in rows]
    except (KeyError, TypeError, ValueError) as error:
        reason = str(error) if isinstance(error, DataError) else f"predictions.jsonl is damaged: {error!r}"
        raise DataError(reason) from None
    _check_metrics(results, scores)
    return Run(
        folder=folder,
        written=(folder / "results.json").stat().st_mtime,
        results=results,
        config=config,
        pairs=hashlib.sha256(json.dumps(identity).encode()).hexdigest(),
        true=(true / duration[:, None]).numpy(),
        scores=scores,
        curves=_read_curves(folder / "metrics.csv"),
    )


def _read_rows(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        raise DataError("predictions.jsonl is not there, and without it there is no interval")
    with path.open(encoding="utf-8") as stream:
        every = (json.loads(line) for line in stream if line.strip())
        rows = [{key: row[key] for key in COMPARED} for row in every]
    if not rows:
        raise DataError("predictions.jsonl is empty")
    return sorted(rows, key=lambda row: str(row["qid"]))


def _scores(
    metrics: Mapping[str, Any], ranked: torch.Tensor, true: torch.Tensor, duration: torch.Tensor
) -> dict[str, Floats]:
    scores = {}
    for key, metric in grounding_metrics(**metrics).items():
        assert isinstance(metric, PairMean)
        scores[key] = metric.score(ranked, true, duration).double().numpy()
    return scores


def _check_metrics(results: Mapping[str, Any], scores: Mapping[str, Floats]) -> None:
    stated = results["metrics"]
    for key, score in scores.items():
        computed, said = 100 * float(score.mean()), stated.get(key)
        if not isinstance(said, int | float) or not abs(said - computed) <= TOLERANCE:
            raise DataError(f"predictions.jsonl gives {key} = {computed:.3f}, but results.json has {said}")
    pairs = len(scores["mIoU"])
    if pairs != results["pairs"]:
        raise DataError(f"predictions.jsonl has {pairs} pairs, but results.json counts {results['pairs']}")


def _read_curves(path: Path) -> dict[str, dict[int, float]]:
    """Read what can be read: curves are pictures only, and a run without them still has its row."""
    curves: defaultdict[str, dict[int, float]] = defaultdict(dict)
    if path.is_file():
        with path.open(encoding="utf-8", errors="replace", newline="") as stream:
            for line in csv.DictReader(stream):
                for column in ("train/loss", "val/mIoU"):
                    with suppress(KeyError, TypeError, ValueError):
                        curves[column][int(line["epoch"])] = float(line[column])
    return dict(curves)


def _nothing(
    roots: Sequence[Path], experiment: str | None, seen: Counter[str | None], left_out: Sequence[LeftOut]
) -> str:
    below = ", ".join(map(str, roots))
    names = sorted(name for name in seen if name)
    lines = [f"no run of experiment={experiment} below {below}" if experiment else f"no usable run below {below}"]
    if experiment:
        counts = [f"{name} ({seen[name]} runs)" for name in names]
        lines.append(f"experiments found: {', '.join(counts) or 'none'}; {seen[None]} runs of no experiment")
    lines += [f"{each.folder}: {each.reason}" for each in left_out[:10]]
    if len(left_out) > 10:
        lines.append(f"... and {len(left_out) - 10} more")
    lines.append("runs=FOLDER names where to look; python -m cpnet.train makes a run")
    return "\n  ".join(lines)


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
