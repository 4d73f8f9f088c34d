"""results.json and the results table: the trained model beside the trivial predictors and the paper."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.utilities import rank_zero_only
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from torch import nn

from cpnet import __version__
from cpnet.build import containers
from cpnet.commit import git_commit
from cpnet.data.atomic import replacing
from cpnet.data.moment import Moment
from cpnet.metrics import grounding_metrics, predict_constant, printed_name, trivial_predictors
from cpnet.printing import printable

Row = dict[str, float]
VERSIONED = ("torch", "pytorch-lightning", "torchmetrics", "hydra-core", "omegaconf", "numpy", "h5py")


class Stopwatch:
    """Seconds of a run's stages, by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def time(self, stage: str) -> Iterator[None]:
        """Add the seconds of the block to a stage."""
        start = time.perf_counter()
        yield
        self.add(stage, time.perf_counter() - start)

    def add(self, stage: str, seconds: float) -> None:
        """Add seconds to a stage."""
        self.seconds[stage] = round(self.seconds.get(stage, 0.0) + seconds, 2)


def collect(
    cfg: DictConfig,
    *,
    split: str,
    pairs: int,
    logged: Mapping[str, Any],
    train: Sequence[Moment],
    evaluated: Sequence[Moment],
    model: nn.Module,
    compiled: bool,
    stopwatch: Stopwatch,
    validation: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Gather what results.json holds.

    Args:
        cfg: the run's configuration
        split: which split was measured
        pairs: how many were measured
        logged: what the test loop logged, as ``test/...``
        train: pairs that the trivial predictors are fitted on
        evaluated: pairs of the split
        model: the network
        compiled: whether it was compiled
        stopwatch: seconds of the run's stages
        validation: of a training: the metric by which the checkpoint was chosen, its score and epoch
    """
    # Presets and models of one's own stand beside the paper's full model, its ablations beside their own rows.
    variant = cfg.model_name if cfg.model_name in cfg.dataset.paper else "cpnet"
    measured = {key.removeprefix("test/"): float(value) for key, value in logged.items() if key.startswith("test/")}
    return {
        "experiment": cfg.get("experiment_name"),
        "model": cfg.model_name,
        "metrics": {key: value for key, value in measured.items() if key != "reversed"},
        "reversed": measured["reversed"],
        "pairs": pairs,
        "validation": dict(validation or {}),
        "trivial": trivial_rows(train, evaluated, containers(cfg.metrics)),
        "paper": dict(cfg.dataset.paper.get(variant, {})) if split == "test" else {},
        "paper_model": variant,
        "protocol": protocol(cfg, split),
        "parameters": parameter_count(model),
        "seed": cfg.seed,
        "precision": cfg.trainer.precision,
        "compiled": compiled,
        "seconds": stopwatch.seconds,
        **environment(),
    }


def publish(results: Mapping[str, Any], folder: Path, *, console: Console | None = None) -> None:
    """Write results.json, print the table, and say where everything lies."""
    write_json(folder / "results.json", results)
    console = console or Console()
    print_results(results, console=console)
    console.print(f"outputs: {folder}", soft_wrap=True, highlight=False, markup=False)


def trivial_rows(
    train: Sequence[Moment], evaluated: Sequence[Moment], metrics: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """Fit the trivial predictors on train and measure them on another split.

    Returns by name: ``span``, the constant in fractions of the video, and ``metrics``.
    """
    rows = {}
    target_sec, duration_sec = _times(evaluated)
    for name, span in trivial_predictors(*_times(train)).items():
        # Called so, metrics do not look at other processes, which may not be here.
        measured = grounding_metrics(**metrics)(predict_constant(span, duration_sec), target_sec, duration_sec)
        rows[name] = {"span": list(span), "metrics": {key: float(value) for key, value in measured.items()}}
    return rows


def protocol(cfg: DictConfig, split: str) -> dict[str, Any]:
    """State what the numbers depend on, beside the model."""
    dataset = cfg.dataset
    selection = {
        "file": "validation split",
        "holdout": f"{dataset.holdout_fraction:.0%} of the training videos, held out",
        "test": "THE TEST SPLIT",
    }[dataset.validation]
    return {
        "dataset": dataset.name,
        "split": split,
        "selection": selection,
        "strict": cfg.metrics.strict,
        "ground_truth": dataset.ground_truth,
        "on_defect": dataset.on_defect,
        "blind": dataset.blind,
        "features": dataset.features.path,
        "sampling": containers(cfg.sampling),
    }


def environment() -> dict[str, Any]:
    """Give versions, device and the commit of the checkout that runs, where it is one."""
    versions = {"cpnet-grounding": __version__} | {name: version(name) for name in VERSIONED}
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    return {"versions": versions, "device": device, "git_commit": git_commit(Path(__file__).parent)}


def parameter_count(model: nn.Module) -> int:
    """Count the parameters that are trained."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file, whole or not at all."""
    with replacing(path) as stream:
        stream.write(json.dumps(content, indent=2, ensure_ascii=False).encode() + b"\n")


@rank_zero_only
def save_config(cfg: DictConfig, folder: Path) -> None:
    """Write the resolved configuration into the run's folder, whose first process clears away parts of files."""
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / "config.yaml") as stream:
        stream.write(OmegaConf.to_yaml(cfg, resolve=True).encode())


def print_results(results: Mapping[str, Any], *, console: Console | None = None) -> None:
    """Print the table of a run: its own row, the trivial predictors', and the paper's where there is one."""
    rules = results["protocol"]
    keys = [key for key in results["metrics"] if not key.startswith("dR")]
    table = Table(
        title=f"{escape(printable(rules['dataset']))}, {rules['split']} split, {results['pairs']} pairs (per cent)",
        caption=_caption(rules),
        title_justify="left",
        caption_justify="left",
    )
    table.add_column("")
    for key in keys:
        table.add_column(printed_name(key).replace(",", "\n"), justify="right", min_width=7)
    blind = "" if rules["blind"] == "none" else f", without its {rules['blind']}"
    _add(table, f"{results['model']}{blind}", results["metrics"], keys, style="bold")
    for name, row in results["trivial"].items():
        start, end = row["span"]
        _add(table, f"{name} [{start:g}, {end:g}]", row["metrics"], keys)
    if results["paper"]:
        table.add_section()
        _add(table, f"the paper's {results['paper_model']}, as printed there", results["paper"], keys, style="italic")
    (console or Console()).print(table)


def _caption(rules: Mapping[str, Any]) -> str:
    threshold = "IoU > m" if rules["strict"] else "IoU >= m"
    return f"{threshold}; ground truth {rules['ground_truth']}\ncheckpoint chosen on {rules['selection']}"


def _add(table: Table, name: str, metrics: Mapping[str, float], keys: Sequence[str], style: str = "") -> None:
    cells = [f"{metrics[key]:.2f}" if metrics.get(key) is not None else "-" for key in keys]
    table.add_row(escape(printable(name)), *cells, style=style)


def _times(moments: Sequence[Moment]) -> tuple[torch.Tensor, torch.Tensor]:
    target_sec = torch.tensor([(m.start_sec, m.end_sec) for m in moments], dtype=torch.float64)
    return target_sec, torch.tensor([m.duration_sec for m in moments], dtype=torch.float64)
